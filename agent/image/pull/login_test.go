package pull

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/clusterd/clusterd/agent/image"
)

func TestLogin(t *testing.T) {
	f := newFixture(t)
	f.push("library/busybox:latest", makeImage(t, image.Here().Architecture, "x"))
	f.set(nil, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "me" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	registries, err := image.ParseRegistries("registries.conf", []byte(f.conf))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckLogin(t.Context(), f.host(), "me", "secret", registries); err != nil {
		t.Errorf("right password: %v", err)
	}
	want := f.host() + ": not allowed: it doesn't know me by that password"
	if err := CheckLogin(t.Context(), f.host(), "me", "wrong", registries); !errors.Is(err, ErrUnauthorized) || err.Error() != want {
		t.Errorf("wrong password: got %v, want %s", err, want)
	}
	if _, _, err := f.pull("busybox"); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("pull without login: %v", err)
	}
	p := New(Config{Store: f.store, Registries: registries, Keychain: one{&authn.Basic{Username: "me", Password: "secret"}}})
	defer p.Close()
	if _, _, err := p.Pull(t.Context(), "busybox"); err != nil {
		t.Errorf("pull with login: %v", err)
	}
}
