package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

// rawCall makes one call and returns its status and error entity.
func rawCall(t *testing.T, config *tls.Config, method, url string) (int, ErrorBody) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequest(method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var e Error
	if res.StatusCode >= 300 {
		if err := json.NewDecoder(res.Body).Decode(&e); err != nil || e.Error.Message == "" || e.Error.Status != res.StatusCode || e.Error.Exit == 0 {
			t.Errorf("%s %s: answered %d without its error entity: %+v, %v", method, url, res.StatusCode, e, err)
		}
	}
	return res.StatusCode, e.Error
}

func selfSigned(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.SelfSigned(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewCSR(key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, csr
}

// Every role at every endpoint: what the table below doesn't name is refused.
func TestAuthorisationOfEveryRoleAtEveryEndpoint(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "", "web.service")
	self, _ := selfSigned(t)
	foreign, err := pki.NewAuthority(testCluster, "cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	unchecked := func(c *pki.Credentials) *tls.Config {
		config := c.ClientTLS()
		config.VerifyConnection = nil
		return config
	}
	callers := map[string]*tls.Config{
		"admin":         r.credentials(pki.Admin, "ann").ClientTLS(),
		"control":       r.credentials(pki.Control, string(machineA)).ClientTLS(),
		"machine":       r.credentials(pki.Machine, string(machineB)).ClientTLS(),
		"peer":          r.credentials(pki.Peer, string(machineB)).ClientTLS(),
		"self-signed":   {Certificates: []tls.Certificate{self}, InsecureSkipVerify: true},
		"foreign admin": unchecked(credentialsOf(t, foreign, pki.Identity{Cluster: testCluster, Role: pki.Admin, Name: "eve"})),
		"other cluster": unchecked(credentialsOf(t, r.authority, pki.Identity{Cluster: "c2", Role: pki.Admin, Name: "eve"})),
	}
	allowed := map[string]string{ // "METHOD path": roles that get past the check
		"GET /version":                          "admin control machine",
		"GET /metrics":                          "admin control",
		"GET /local/journal/{unit}":             "admin control",
		"GET /local/status/{unit}":              "admin control",
		"POST /local/verify":                    "admin control",
		"GET /units":                            "admin",
		"GET /units/{unit}":                     "admin",
		"GET /units/{unit}/journal":             "admin",
		"GET /units/{unit}/status":              "admin",
		"POST /units/{unit}/move":               "admin",
		"GET /files/{hash}":                     "admin",
		"GET /machines":                         "admin",
		"DELETE /machines/{machine}":            "admin",
		"PUT /machines/{machine}/settings":      "admin",
		"GET /machines/{machine}/units":         "admin",
		"POST /machines/{machine}/confirm-dead": "admin",
		"POST /apply":                           "admin",
		"POST /verify":                          "admin",
		"POST /simulate":                        "admin",
		"POST /explain":                         "admin",
		"POST /watch":                           "admin",
		"POST /tokens":                          "admin",
		"POST /join":                            "self-signed foreign-admin other-cluster",
		"POST /renew":                           "admin control machine",
		"POST /control-credentials":             "control machine",
	}
	for _, route := range table() {
		name := route.method + " " + route.path
		if _, ok := allowed[name]; !ok {
			t.Errorf("%s: no row says who may call it", name)
		}
		path := strings.NewReplacer("{unit}", "none.service", "{hash}", "0", "{machine}", "none").Replace(route.path)
		for who, config := range callers {
			status, e := rawCall(t, config, route.method, "https://"+r.tcp+pathPrefix+path)
			passed := !strings.Contains(e.Message, ": refused")
			want := strings.Contains(" "+allowed[name]+" ", " "+strings.ReplaceAll(who, " ", "-")+" ")
			if passed != want || !passed && (status != http.StatusForbidden || e.Exit != ExitRefused) {
				t.Errorf("%s by %s: %d %s, want let through: %v", name, who, status, e.Message, want)
			}
		}
	}
}

func TestWrongPathsAndMethods(t *testing.T) {
	r := newRig(t)
	config := r.credentials(pki.Admin, "ann").ClientTLS()
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404}, {"GET", "/clusterd/v1/", 404}, {"GET", "/clusterd/v2/units", 404},
		{"POST", "/clusterd/v1/units", 405}, {"GET", "/clusterd/v1/apply", 405}, {"BREW", "/clusterd/v1/join", 405},
	} {
		if status, e := rawCall(t, config, test.method, "https://"+r.tcp+test.path); status != test.want {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, status, e.Message, test.want)
		}
	}
}

func TestC11_NoCertificateIsRefusedInTheHandshake(t *testing.T) {
	r := newRig(t)
	conn, err := tls.Dial("tcp", r.tcp, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		// With TLS 1.3 the client learns of it when it first reads.
		_, _ = io.WriteString(conn, "GET /clusterd/v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	plain, err := net.Dial("tcp", r.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_, _ = io.WriteString(plain, "GET /clusterd/v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, _ := io.ReadAll(plain)
	if strings.Contains(string(answer), "cluster") {
		t.Errorf("in plain text: %q", answer)
	}
}

func TestLocalCaller(t *testing.T) {
	for _, test := range []struct {
		name   string
		uid    uint32
		groups []uint32
		admin  bool
	}{
		{"root", 0, []uint32{0}, true},
		{"a member of the socket's group", 1000, []uint32{1000, 77}, true},
		{"somebody else", 1000, []uint32{1000, 0}, false},
		{"somebody without groups", 1000, nil, false},
	} {
		c := localCaller(test.uid, test.groups, 77)
		if (c.id.Role == pki.Admin) != test.admin || (c.err == nil) != test.admin {
			t.Errorf("%s: role %q, %v", test.name, c.id.Role, c.err)
		}
	}
}

// joinAs tries to join with a token's text.
func (r *rig) joinAs(m registry.MachineID, text string) (Joined, error) {
	r.t.Helper()
	token, err := pki.ParseToken(text)
	if err != nil {
		r.t.Fatal(err)
	}
	own, csr := selfSigned(r.t)
	client := r.dial("https://"+strings.Join(token.Endpoints, ",https://"), pki.JoinTLS(own, token.Pin))
	return client.Join(r.ctx, JoinRequest{Secret: token.Secret, Machine: m, Hostname: "beta", Address: "127.0.0.1", CSR: csr})
}

func (r *rig) token(ttl time.Duration) string {
	r.t.Helper()
	reply, err := r.client.CreateToken(r.ctx, TokenRequest{TTL: ttl})
	if err != nil {
		r.t.Fatal(err)
	}
	return reply.Token
}

func TestJoin(t *testing.T) {
	r := newRig(t)
	text := r.token(0)
	joined, err := r.joinAs(machineB, text)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(joined.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.credentials(pki.Control, string(machineA)).Verify(cert)
	if err != nil || id != (pki.Identity{Cluster: testCluster, Role: pki.Machine, Name: string(machineB)}) {
		t.Errorf("the certificate is of %v, %v", id, err)
	}
	if joined.Cluster != testCluster || len(joined.GossipKey) != 32 || len(joined.Gates) != 1 || len(joined.Gossip) != 1 || len(joined.APIs) != 1 {
		t.Errorf("answer is %+v", joined)
	}
	if _, err := r.joinAs(machineC, text); ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), "the token is not good: it was used") {
		t.Errorf("the token once more: %v", err)
	}

	expired := r.token(time.Minute)
	r.clock.move(2 * time.Minute)
	if _, err := r.joinAs(machineC, expired); ExitCode(err) != ExitRefused {
		t.Errorf("an expired token: %v", err)
	}

	good := r.token(0)
	parsed, _ := pki.ParseToken(good)
	other, err := pki.NewAuthority(testCluster, "cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pin := parsed.Pin
	parsed.Pin = pki.Pin(other.Certificate)
	wrong, err := pki.FormatToken(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.joinAs(machineC, wrong); ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), "not the one the token names") {
		t.Errorf("a token of another authority: exit %d, %v", ExitCode(err), err)
	}
	forged := strings.Replace(good, parsed.Secret, "AAAAAAAAAAAAAAAAAAAAAA", 1)
	if _, err := r.joinAs(machineC, forged); ExitCode(err) != ExitRefused {
		t.Errorf("a made-up secret: %v", err)
	}

	// A request for somebody else's key is refused, and spends nothing.
	own, _ := selfSigned(t)
	_, csr := selfSigned(t)
	client := r.dial("https://"+r.tcp, pki.JoinTLS(own, pin))
	if _, err := client.Join(r.ctx, JoinRequest{Secret: parsed.Secret, Machine: machineC, Hostname: "x", Address: "127.0.0.1", CSR: csr}); ExitCode(err) != ExitRefused {
		t.Errorf("another's key: %v", err)
	}
	if _, err := r.joinAs(machineC, good); err != nil {
		t.Errorf("the good token after all that: %v", err)
	}
}

func TestA17_MachineIdInUseIsRefused(t *testing.T) {
	r := newRig(t)
	text := r.token(0)
	_, err := r.joinAs(machineA, text)
	if ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "is in use by alpha (127.0.0.1)") {
		t.Fatalf("exit %d: %v", ExitCode(err), err)
	}
	if _, err := r.joinAs(machineB, text); err != nil {
		t.Errorf("the token was spent: %v", err)
	}
}

// A machine that is down keeps its identity, and with it the rights of a
// control machine: a token lets nobody take them over.
func TestJoinTakesNobodysPlace(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	r.put(registry.MemberKey(machineB), &registry.Member{EtcdId: 7})
	text := r.token(0)
	_, err := r.joinAs(machineB, text)
	if ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "is that of beta (127.0.0.1), which is silent; if this is that machine, set up anew, take the old one out first: clusterctl machine remove") {
		t.Errorf("registered: %v", err)
	}
	if err := r.client.RemoveMachine(r.ctx, "beta", false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.joinAs(machineB, text); ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "is still being taken out") {
		t.Errorf("etcd member: %v", err)
	}
	r.write(registry.Op{Delete: registry.Single(registry.MemberKey(machineB))})
	if _, err := r.joinAs(machineB, text); err != nil {
		t.Errorf("removed: %v", err)
	}
}

func TestWithoutTokenNothingIsLearnt(t *testing.T) {
	r := newRig(t)
	token, err := pki.ParseToken(r.token(0))
	if err != nil {
		t.Fatal(err)
	}
	token.Secret = "AAAAAAAAAAAAAAAAAAAAAA"
	made, err := pki.FormatToken(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.joinAs(machineA, made); ExitCode(err) != ExitRefused || strings.Contains(err.Error(), "alpha") {
		t.Errorf("a stranger asks for a machine: %v", err)
	}
	own, csr := selfSigned(t)
	client := r.dial("https://"+r.tcp, pki.JoinTLS(own, token.Pin))
	_, err = client.Join(r.ctx, JoinRequest{Secret: strings.Repeat("x", strangerBodyMax), Machine: machineC, Hostname: "x", Address: "127.0.0.1", CSR: csr})
	if err == nil || !strings.Contains(err.Error(), "larger than 64 KiB") {
		t.Errorf("a stranger with much to say: %v", err)
	}
}

func TestRemovedMachineHasToJoinAnew(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	_, csr := selfSigned(t)
	asB := r.as(pki.Machine, string(machineB))
	if err := r.client.RemoveMachine(r.ctx, "beta", false); err != nil {
		t.Fatal(err)
	}
	r.put(registry.MemberKey(machineB), &registry.Member{})
	if _, err := asB.ControlCredentials(r.ctx, ControlRequest{CSR: csr}); ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), "was removed from the cluster; join it anew") {
		t.Errorf("removed: %v", err)
	}
	r.write(registry.Op{Delete: registry.Single(registry.MemberKey(machineB))})
	if _, err := r.joinAs(machineB, r.token(0)); err != nil {
		t.Fatal(err)
	}
	if rest, err := r.store.Range(r.ctx, registry.Single(registry.RemovedKey(machineB))); err != nil || len(rest.Records) != 0 {
		t.Errorf("still marked: %v, %v", rest, err)
	}
}

func TestTokenOfOneJoinsOneMachine(t *testing.T) {
	r := newRig(t)
	text := r.token(0)
	done := make(chan error)
	for _, m := range []registry.MachineID{machineB, machineC} {
		go func() {
			_, err := r.joinAs(m, text)
			done <- err
		}()
	}
	if one, two := <-done, <-done; (one == nil) == (two == nil) {
		t.Errorf("both ended with %v and %v", one, two)
	}
}

func TestTokenNeedsTheRegistry(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.CreateToken(r.ctx, TokenRequest{TTL: 2 * time.Hour}); ExitCode(err) != ExitUsage {
		t.Errorf("two hours: %v", err)
	}
	r.token(0)
	r.store.Cut()
	if _, err := r.client.CreateToken(r.ctx, TokenRequest{}); ExitCode(err) != ExitNoAnswer {
		t.Errorf("without a registry: %v", err)
	}
}

func TestControlCredentials(t *testing.T) {
	r := newRig(t)
	_, csr := selfSigned(t)
	asB := r.as(pki.Machine, string(machineB))
	if _, err := asB.ControlCredentials(r.ctx, ControlRequest{CSR: csr}); ExitCode(err) != ExitRefused {
		t.Fatalf("a machine nobody chose: %v", err)
	}
	r.put(registry.MemberKey(machineC), &registry.Member{})
	if _, err := asB.ControlCredentials(r.ctx, ControlRequest{CSR: csr}); ExitCode(err) != ExitRefused {
		t.Fatalf("another machine than the chosen one: %v", err)
	}
	r.put(registry.MemberKey(machineB), &registry.Member{})
	got, err := asB.ControlCredentials(r.ctx, ControlRequest{CSR: csr})
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2][]byte{{got.CA, got.CAKey}, {got.PeerCA, got.PeerCAKey}} {
		if _, err := pki.ParseAuthority(pair[0], pair[1]); err != nil {
			t.Error(err)
		}
	}
	cert, err := pki.ParseCertificate(got.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := pki.IdentityOf(cert); err != nil || id.Role != pki.Control || id.Name != string(machineB) {
		t.Errorf("the certificate is of %v, %v", id, err)
	}
	if err := cert.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
}

func TestRenewKeepsTheIdentity(t *testing.T) {
	r := newRig(t)
	_, csr := selfSigned(t)
	asB := r.as(pki.Machine, string(machineB))
	if _, err := asB.Renew(r.ctx, RenewRequest{CSR: csr}); ExitCode(err) != ExitRefused {
		t.Errorf("a machine that was removed: %v", err)
	}
	r.machine(machineB, "beta", "")
	got, err := asB.Renew(r.ctx, RenewRequest{CSR: csr})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(got.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := pki.IdentityOf(cert); err != nil || id.Role != pki.Machine || id.Name != string(machineB) {
		t.Errorf("the certificate is of %v, %v", id, err)
	}
	if _, err := r.client.Renew(r.ctx, RenewRequest{CSR: csr}); ExitCode(err) != ExitUsage {
		t.Errorf("over the unix socket: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	for _, test := range []struct{ endpoint, want string }{
		{"", "endpoint is empty"},
		{"http://10.0.0.1:7421", "never listens in plain text"},
		{"https://10.0.0.1", "no host and port"},
		{"https://10.0.0.1:7421", "no certificate to show"},
		{"/run/clusterd/clusterd.sock", "want unix:///path"},
	} {
		if _, err := Dial(test.endpoint, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Dial(%q): %v, want %q", test.endpoint, err, test.want)
		}
	}
}

func TestClientSaysWhatIsWrong(t *testing.T) {
	r := newRig(t)
	nobody := "unix:///nonexistent/clusterd.sock"
	_, err := r.dial(nobody, nil).Version(r.ctx)
	if ExitCode(err) != ExitNoAnswer || !strings.Contains(err.Error(), "no answer from "+nobody) || !strings.Contains(err.Error(), "systemctl status clusterd") {
		t.Errorf("nobody there: exit %d, %v", ExitCode(err), err)
	}
	if v, err := r.dial(nobody+", "+r.socket, nil).Version(r.ctx); err != nil || v.Cluster != testCluster || !v.Control {
		t.Errorf("the second endpoint: %+v, %v", v, err)
	}
	own, _ := selfSigned(t)
	_, err = r.dial("https://"+r.tcp, &tls.Config{Certificates: []tls.Certificate{own}, InsecureSkipVerify: true}).Units(r.ctx)
	if ExitCode(err) != ExitRefused {
		t.Errorf("a foreign certificate: exit %d, %v", ExitCode(err), err)
	}
	_, err = r.dial("https://"+r.tcp, &tls.Config{InsecureSkipVerify: true}).Units(r.ctx)
	if ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("no certificate: exit %d, %v", ExitCode(err), err)
	}
	other, err := pki.NewAuthority(testCluster, "cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := credentialsOf(t, other, pki.Identity{Cluster: testCluster, Role: pki.Admin, Name: "ann"})
	_, err = r.dial("https://"+r.tcp, foreign.ClientTLS()).Units(r.ctx)
	if ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), "not of this cluster") {
		t.Errorf("another cluster's server: exit %d, %v", ExitCode(err), err)
	}
	ended, cancel := context.WithCancel(r.ctx)
	cancel()
	if _, err := r.client.Units(ended); ExitCode(err) != ExitCanceled {
		t.Errorf("canceled: exit %d, %v", ExitCode(err), err)
	}
}

func TestClientLeavesAClusterdThatHangs(t *testing.T) {
	t.Parallel() // it waits for a while
	r := newRig(t)
	hanging := filepath.Join(t.TempDir(), "hangs.sock")
	listener, err := net.Listen("unix", hanging) // takes connections, and that is all
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client := r.dial("unix://"+hanging+","+r.socket, nil)
	a := Apply{Files: map[unit.Hash][]byte{unit.HashOf([]byte(web)): []byte(web)},
		Changes: []Change{{Name: "web.service", File: unit.HashOf([]byte(web))}}}
	only := r.dial("unix://"+hanging, nil)
	var change sync.WaitGroup
	change.Go(func() {
		if _, err := client.Apply(r.ctx, a); err != nil {
			t.Errorf("a change goes to the other, as it can't have arrived: %v", err)
		}
	})
	_, err = only.Units(r.ctx)
	change.Wait()
	if ExitCode(err) != ExitNoAnswer || !strings.Contains(err.Error(), "does its clusterd hang?") {
		t.Errorf("only that one: exit %d, %v", ExitCode(err), err)
	}
}
