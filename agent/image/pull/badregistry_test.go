package pull

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/clusterd/clusterd/agent/image"
)

// misbehaviour is one way to answer that no registry should have.
type misbehaviour struct {
	name   string
	answer http.HandlerFunc
	want   string // in the error; "": that there is one is enough
}

// trickle writes b again and again, as fast as pause lets it, until nobody reads.
func trickle(w http.ResponseWriter, r *http.Request, b []byte, pause time.Duration) {
	for r.Context().Err() == nil {
		if _, err := w.Write(b); err != nil {
			return
		}
		if pause > 0 {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(pause):
			}
		}
	}
}

// hijack answers with bytes that needn't be HTTP, and hangs up.
func hijack(t *testing.T, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, text)
		conn.Close()
	}
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

func misbehaviours(t *testing.T, elsewhere string) []misbehaviour {
	huge := strings.Repeat("h", 1<<20)
	return []misbehaviour{
		{"it never answers", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ""},
		{"it answers and then says nothing", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3000")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, ""},
		{"it sends a byte now and then", func(w http.ResponseWriter, r *http.Request) { trickle(w, r, []byte(" "), 10*time.Millisecond) }, ""},
		{"it sends without end", func(w http.ResponseWriter, r *http.Request) { trickle(w, r, bytes.Repeat([]byte(" "), 64<<10), 0) }, ""},
		{"it denies without end", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			trickle(w, r, bytes.Repeat([]byte("x"), 64<<10), 0)
		}, ""},
		{"it denies a byte now and then", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			trickle(w, r, []byte("x"), 10*time.Millisecond)
		}, ""},
		{"its header is of a mebibyte", status(200, "X-Header", huge), ""},
		{"its headers are thousands", func(w http.ResponseWriter, r *http.Request) {
			for i := range 20000 {
				w.Header().Set(fmt.Sprintf("X-Header-%d", i), huge[:50])
			}
		}, ""},
		{"its answer is cut off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "2000")
			_, _ = w.Write(make([]byte, 100))
		}, ""},
		{"it hangs up", hijack(t, ""), ""},
		{"it speaks something else", hijack(t, "SSH-2.0-OpenSSH_9.2\r\n"), ""},
		{"it answers with two lengths", hijack(t, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), ""},
		{"it answers with a negative length", hijack(t, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"), ""},
		{"it says there is more to come, again and again", hijack(t, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 10000)), ""},
		{"it has had enough", status(429, "Retry-After", "99999"), "asked too often"},
		{"it is broken", status(500), "500"},
		{"it is overloaded", status(503, "Retry-After", "99999"), "503"},
		{"it is a teapot", status(418), "418"},
		{"it answers that nothing changed", status(304), ""},
		{"it answers with nothing", status(204), ""},
		{"it answers with a part", status(206), ""},
		{"it sends us round in a circle", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		}, "10 redirects"},
		{"it sends us nowhere", status(307), ""},
		{"it sends us to a file", status(307, "Location", "file:///etc/passwd"), "without TLS"},
		{"it sends us to another protocol", status(307, "Location", "ftp://"+elsewhere+"/x"), "without TLS"},
		{"it sends us to a script", status(307, "Location", "javascript:alert(1)"), ""},
		{"it sends us where there is no TLS", status(307, "Location", "http://"+elsewhere+"/x"), "without TLS"},
		{"it sends us to the cloud's metadata", status(307, "Location", "http://169.254.169.254/latest/meta-data/"), "without TLS"},
		{"it sends us to who has no certificate of ours", status(307, "Location", "https://"+elsewhere+"/x"), "unknown authority"},
		{"it sends us where nobody listens", status(307, "Location", "https://127.0.0.1:1/"), ""},
		{"it wants a login without saying which", status(401), "log in: nsrun login"},
		{"it wants a login nobody knows", status(401, "WWW-Authenticate", "Negotiate"), ""},
		{"it wants a token from a file", status(401, "WWW-Authenticate", `Bearer realm="file:///etc/passwd"`), ""},
		{"it wants a token where there is no TLS", status(401, "WWW-Authenticate", `Bearer realm="http://`+elsewhere+`/token"`), ""},
		{"it wants a token from the cloud's metadata", status(401, "WWW-Authenticate", `Bearer realm="http://169.254.169.254/"`), ""},
		{"it wants a token from itself, and again", func(w http.ResponseWriter, r *http.Request) {
			status(401, "WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token",service="s"`)(w, r)
		}, ""},
		{"it answers in colours", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"\u001b[31mred\u0007\n\nsecond line"}]}`)
		}, ""},
	}
}

// TestBadRegistries lets a registry misbehave at each point of a pull. All of it
// ends soon, costs little memory, says where, and leaves nothing.
func TestBadRegistries_B09(t *testing.T) {
	var mu sync.Mutex
	var visits []string
	stranger := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		visits = append(visits, r.Method+" "+r.URL.String())
	}))
	stranger.TLS = &tls.Config{Certificates: []tls.Certificate{strangersCertificate(t)}}
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0)
	stranger.StartTLS()
	t.Cleanup(func() {
		stranger.Close()
		if len(visits) > 0 {
			t.Errorf("somebody else was asked for %v", visits)
		}
	})
	m := newMade(t)
	config, _, index := m.build(t, tamper{})
	honest := m.answer(index)
	points := []struct {
		name     string
		harmless bool // nothing of it is believed
		is       func(r *http.Request) bool
	}{
		{"when greeted", true, func(r *http.Request) bool { return r.URL.Path == "/v2/" }},
		{"when asked for the tag", true, func(r *http.Request) bool { return r.Method == http.MethodHead }},
		{"when asked for the list", false, func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/"+index.String())
		}},
		{"when asked for the configuration", false, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, config.String()) }},
		{"when asked for a layer", false, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, m.layers[1].String()) }},
	}
	for _, bad := range misbehaviours(t, stranger.Listener.Addr().String()) {
		for _, point := range points {
			t.Run(bad.name+" "+point.name, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				// Who answers for ever has to stop, else the server never closes.
				live, stop := context.WithCancel(context.Background())
				t.Cleanup(func() { stop(); f.server.CloseClientConnections() })
				f.stall = 150 * time.Millisecond
				f.serve(func(w http.ResponseWriter, r *http.Request) bool {
					if point.is(r) || r.URL.Path == "/token" {
						ctx, cancel := context.WithCancel(r.Context())
						defer cancel()
						defer context.AfterFunc(live, cancel)()
						bad.answer(w, r.WithContext(ctx))
						return true
					}
					return honest(w, r)
				})
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				img, _, err := f.puller(image.Platform{}).Pull(ctx, "made")
				t.Logf("%v: %v", time.Since(start).Round(time.Millisecond), err)
				if ctx.Err() != nil {
					t.Fatalf("took longer than 20s: %v", err)
				}
				if err == nil && point.harmless && img.Digest == index {
					return // what it said was of no consequence
				}
				if err == nil {
					t.Fatal("is taken")
				}
				if !strings.Contains(err.Error(), bad.want) || !strings.Contains(err.Error(), f.host()) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 2*errorBytesMax {
					t.Errorf("got\n%.3000v\nwant %s", err, bad.want)
				}
				if left := f.visibleRefs(); left != "" {
					t.Errorf("left %s", left)
				}
			})
		}
	}
}

// TestEndlessAnswersCostLittle bounds the memory of a pull whose registry never ends.
func TestEndlessAnswersCostLittle_B09(t *testing.T) {
	m := newMade(t)
	_, _, index := m.build(t, tamper{})
	honest := m.answer(index)
	for _, part := range []string{"/v2/", "/manifests/" + index.String(), "/blobs/", "/token"} {
		f := newFixture(t)
		f.serve(func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.Contains(r.URL.Path, part) && (part != "/v2/" || r.URL.Path == part):
				trickle(w, r, bytes.Repeat([]byte(" "), 64<<10), 0)
			case part == "/token":
				status(401, "WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token",service="s"`)(w, r)
			default:
				return honest(w, r)
			}
			return true
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := f.pull("made")
		runtime.ReadMemStats(&after)
		f.server.CloseClientConnections()
		if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 48<<20 {
			t.Errorf("%s: took %d bytes: %v", part, bytes, err)
		}
		if err == nil && part != "/v2/" {
			t.Errorf("%s: is taken", part)
		}
	}
}

// TestLoginsStayWithTheirHost: a registry that sends us on, and one we are sent
// to that asks for a login, get no login of the other's (the class of CVE-2020-15157).
func TestLoginsStayWithTheirHost(t *testing.T) {
	m := newMade(t)
	_, _, index := m.build(t, tamper{})
	honest := m.answer(index)
	for name, challenge := range map[string]string{
		"without a question": "", "asked for a password": `Basic realm="x"`, "asked for a token": `Bearer realm="https://HOST/token",service="x"`,
	} {
		t.Run(name, func(t *testing.T) {
			f, other := newFixture(t), newFixture(t)
			f.login = &authn.Basic{Username: "me", Password: "secret"}
			f.conf += strings.SplitN(other.conf, "\n", 3)[2] // its authority
			var mu sync.Mutex
			var got []string
			served := false
			other.serve(func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprint(r.URL, r.Header))
				user, password, ok := r.BasicAuth()
				if ok || strings.Contains(r.URL.RawQuery, "secret") {
					t.Errorf("%s was told %s:%s", r.URL, user, password)
				}
				if r.URL.Path == "/token" {
					_, _ = io.WriteString(w, `{"token":"others"}`)
					return true
				}
				if challenge != "" && r.Header.Get("Authorization") == "" {
					status(401, "WWW-Authenticate", strings.ReplaceAll(challenge, "HOST", r.Host))(w, r)
					return true
				}
				served = true
				return honest(w, r)
			})
			f.serve(func(w http.ResponseWriter, r *http.Request) bool {
				if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
					status(401, "WWW-Authenticate", `Basic realm="here"`)(w, r)
					return true
				}
				if strings.Contains(r.URL.Path, "/blobs/") {
					http.Redirect(w, r, "https://"+other.host()+r.URL.Path, http.StatusTemporaryRedirect)
					return true
				}
				return honest(w, r)
			})
			_, _, err := f.pull("made")
			if challenge == "" && (err != nil || !served) {
				t.Errorf("sent on to where the blobs are: %v", err)
			}
			for _, request := range got {
				if strings.Contains(request, "bWU6c2VjcmV0") || strings.Contains(request, "secret") {
					t.Errorf("told somebody else: %s", request)
				}
			}
			if len(got) == 0 {
				t.Error("nobody was sent there")
			}
		})
	}
}

// visibleRefs lists references and work in progress. (Layers that were right
// stay when it was the network that failed.)
func (f *fixture) visibleRefs() string {
	var left []string
	for _, dir := range []string{"refs", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(f.store.Dir(), dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			f.t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
	}
	return strings.Join(left, " ")
}

// strangersCertificate is one that nobody signed but itself.
func strangersCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	return selfSigned(t, "stranger.example")
}

// TestWrongContentDigest: what a header says of a document is either what is
// asked for next, or not heeded; the document's own hash decides.
func TestWrongContentDigest_B09(t *testing.T) {
	m := newMade(t)
	_, manifest, index := m.build(t, tamper{})
	honest := m.answer(index)
	wrong := image.DigestOf([]byte("wrong"))
	for _, tt := range []struct {
		name, method, header string
		want                 string // "": the image is taken, as it is
	}{
		{"a tag's digest that nobody has", http.MethodHead, wrong.String(), "no such image"},
		{"a tag's digest of a layer", http.MethodHead, m.layers[0].String(), "manifest " + m.layers[0].String()},
		{"a tag's digest that climbs", http.MethodHead, "sha256:../../blobs/x", ""},
		{"a tag's digest of another kind", http.MethodHead, "sha512:" + strings.Repeat("0", 128), ""},
		{"a tag's digest that is none", http.MethodHead, "", ""},
		{"a document's digest that is another's", http.MethodGet, wrong.String(), ""},
		{"a document's digest that is its manifest's", http.MethodGet, manifest.String(), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.serve(func(w http.ResponseWriter, r *http.Request) bool {
				return honest(lying{w, r.Method == tt.method, tt.header}, r)
			})
			if tt.want != "" {
				f.refuses(t, "made", tt.want)
				return
			}
			if img, _, err := f.pull("made"); err != nil || img.Digest != index || img.Manifest != manifest {
				t.Errorf("got %+v, %v", img, err)
			}
		})
	}
}

// lying writes another digest into the header.
type lying struct {
	http.ResponseWriter
	lies   bool
	digest string
}

func (l lying) Header() http.Header {
	h := l.ResponseWriter.Header()
	if l.lies && h.Get("Docker-Content-Digest") != "" {
		h.Set("Docker-Content-Digest", l.digest)
	}
	return h
}

func (l lying) Write(b []byte) (int, error) { l.Header(); return l.ResponseWriter.Write(b) }
