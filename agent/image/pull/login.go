package pull

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/clusterd/clusterd/agent/image"
)

// CheckLogin asks the registry at host whether it knows user by that password.
func CheckLogin(ctx context.Context, host, user, password string, registries *image.Registries) error {
	h := newHosts(registries, stallTimeout)
	defer h.close()
	// Any repository will do: without a scope some registries give out tokens to anybody.
	src := image.Source{Host: host, Repository: "library/busybox"}
	err := func() error {
		r, err := connect(ctx, src, h, one{&authn.Basic{Username: user, Password: password}})
		if err != nil {
			return err
		}
		base := r.base
		base.Path = "/v2/"
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String(), nil)
		if err != nil {
			return err
		}
		resp, err := r.client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return transport.CheckError(resp, http.StatusOK)
	}()
	if refused(err) {
		return fmt.Errorf("%s: %w: it doesn't know %s by that password", host, ErrUnauthorized, user)
	}
	if err != nil {
		return explain(err, image.Reference{Registry: host}, src, registries)
	}
	return nil
}

// one is a keychain with one key.
type one struct{ login authn.Authenticator }

func (o one) Resolve(authn.Resource) (authn.Authenticator, error) { return o.login, nil }
