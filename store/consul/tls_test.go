package consul

import (
	"testing"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/test/tools/consultest"
)

// TestTLS: Consul asks for a certificate and a token and has a certificate of its own, which settings and Consul's own variables name alike.
func TestTLS(t *testing.T) {
	ours, other := consultest.NewAuthority(t, "ca"), consultest.NewAuthority(t, "other")
	config, ca, cert, key := ours.Secure()
	const token = "5c1ad6e4-0000-4000-8000-1234567890ab"
	acl := `acl { enabled = true  default_policy = "deny"  tokens { initial_management = "` + token + `" } }`
	c := consultest.Start(t, consultest.Options{Token: token, Config: config + acl})
	address := c.Servers[0].Host + ":8501"
	good := consulapi.Settings{Address: address, Token: token, CA: ca, Cert: cert, Key: key, ServerName: "consul.test"}
	use := func(settings consulapi.Settings) error {
		s, err := Open(t.Context(), Options{Settings: settings, Prefix: "tls/"})
		if err != nil {
			return err
		}
		_, err = s.Commit(t.Context(), store.Write{Key: "a", Value: []byte("x"), Any: true})
		_ = s.Close()
		return err
	}
	if err := use(good); err != nil {
		t.Errorf("with everything: %v", err)
	}
	stranger, wrongName, plain := good, good, consulapi.Settings{Address: address}
	stranger.CA, wrongName.ServerName = other.File("other.pem"), "elsewhere.test"
	for name, settings := range map[string]consulapi.Settings{"another CA": stranger, "another name": wrongName} {
		if err := use(settings); !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := use(plain); !fault.Is(err, fault.Invalid) {
		t.Errorf("without TLS: %v", err)
	}
	t.Setenv("CONSUL_HTTP_ADDR", address)
	t.Setenv("CONSUL_HTTP_SSL", "true")
	t.Setenv("CONSUL_CACERT", good.CA)
	t.Setenv("CONSUL_CLIENT_CERT", good.Cert)
	t.Setenv("CONSUL_CLIENT_KEY", good.Key)
	t.Setenv("CONSUL_TLS_SERVER_NAME", good.ServerName)
	if err := use(consulapi.Settings{}); !fault.Is(err, fault.Denied) {
		t.Errorf("by variables without a token: %v", err)
	}
	t.Setenv("CONSUL_HTTP_TOKEN", token)
	if err := use(consulapi.Settings{}); err != nil {
		t.Errorf("by variables: %v", err)
	}
}
