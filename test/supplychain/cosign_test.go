// Package supplychain holds what release says about images against the program that others check it with: the real
// cosign, built from its module (test/tools/cosign) once for each version into the user's cache.
package supplychain

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/bootandshoot/release/sandbox"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/tools"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// cosign builds the program, which takes some minutes the first time and needs the Go module proxy then.
func cosign(t *testing.T) string {
	t.Helper()
	return tools.Build(t, "cosign", "github.com/sigstore/cosign/v2", "github.com/sigstore/cosign/v2/cmd/cosign")
}

// TestCosignAcceptsOurSignatures pushes signed images, with keys of both kinds, and has cosign check them.
func TestCosignAcceptsOurSignatures(t *testing.T) {
	tool := cosign(t)
	suite := harness.NewSuite()
	t.Cleanup(suite.Close)
	in := suite.New(t, "sandbox")
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	check := func(want bool, args ...string) string {
		t.Helper()
		cmd := exec.Command(tool, args...)
		home := t.TempDir()
		cmd.Env = append(os.Environ(), "HOME="+home, "TUF_ROOT="+home, "SIGSTORE_NO_CACHE=1", "DOCKER_CONFIG="+home)
		cmd.Dir = in.Project
		out, err := cmd.CombinedOutput()
		if (err == nil) != want {
			t.Errorf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	in.Must("images", "keygen", "--out", "ed")
	ecdsaKey(t, in.Project)
	in.Must("images", "keygen", "--out", "other")
	in.BuildHello("v1")
	for _, key := range []string{"ed", "ec"} {
		in.Write("note.txt", key)
		in.Write("recipe.yaml", "base: scratch\ncopy: [{from: bin/hello, to: /hello}, {from: note.txt, to: /note}]\nports: [8080]\nentrypoint: [/hello]\n")
		in.Must("bake", "recipe.yaml", "--sign", key+".key")
		ref := host + "/team/hello:" + key
		in.Must("images", "push", "recipe", ref)
		verify := []string{"verify", "--key", key + ".pub", "--insecure-ignore-tlog=true", ref}
		if out := check(true, verify...); !strings.Contains(out, "The signatures were verified against the specified public key") {
			t.Errorf("%s: cosign says\n%s", key, out)
		}
		check(true, append(verify, "--experimental-oci11")...)
		check(false, "verify", "--key", "other.pub", "--insecure-ignore-tlog=true", ref)
		check(true, "verify-attestation", "--key", key+".pub", "--insecure-ignore-tlog=true", "--type", "slsaprovenance1", ref)
		check(false, "verify-attestation", "--key", "other.pub", "--insecure-ignore-tlog=true", "--type", "slsaprovenance1", ref)
	}
	in.Must("images", "sign", "recipe", "--key", "other.key")
	in.Must("images", "push", "recipe", host+"/team/hello:both")
	for _, key := range []string{"ec", "other"} {
		check(true, "verify", "--key", key+".pub", "--insecure-ignore-tlog=true", host+"/team/hello:both")
	}
}

// ecdsaKey makes a pair of the kind that cosign makes.
func ecdsaKey(t *testing.T, dir string) {
	t.Helper()
	private, public := ecdsaPair(t)
	for name, text := range map[string][]byte{"ec.key": private, "ec.pub": public} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
