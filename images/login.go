package images

import (
	"context"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/bootandshoot/release/internal/fault"
)

// Login is what a registry is shown. Without credentials all but Registry is empty.
type Login struct {
	Registry                                         string // host, with its port if it is a special one
	Username, Password, IdentityToken, RegistryToken string
}

// LoginFor finds the credentials for a repository, registry/name, in the Docker configuration and its helpers: for an engine that is to
// pull from there. Errors: fault.Invalid (not a repository), fault.Denied (a helper fails).
func LoginFor(ctx context.Context, repository string) (Login, error) {
	repo, err := name.NewRepository(repository)
	if err != nil {
		return Login{}, fault.New(fault.Invalid, "read repository: %w", err).WithHint("want registry/name")
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return Login{}, fault.New(fault.Denied, "find credentials for %s: %w", repo, err).WithHint("docker login %s", repo.RegistryStr())
	}
	c, err := authn.Authorization(ctx, auth)
	if err != nil {
		return Login{}, fault.New(fault.Denied, "find credentials for %s: %w", repo, err).WithHint("docker login %s", repo.RegistryStr())
	}
	return Login{Registry: repo.RegistryStr(), Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}, nil
}

// checkWithin bounds CheckRegistry.
const checkWithin = 10 * time.Second

// CheckRegistry asks the registry of a repository whether it answers and takes our credentials. Errors are those of a push.
func CheckRegistry(ctx context.Context, repository string, plainHTTP bool) error {
	ref, err := Remote{Reference: repository, PlainHTTP: plainHTTP}.parse()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	repo := ref.Context()
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err == nil {
		_, err = transport.NewWithContext(ctx, repo.Registry, auth, remote.DefaultTransport, []string{repo.Scope(transport.PushScope)})
	}
	if err != nil {
		return registryError(ref, err)
	}
	return nil
}
