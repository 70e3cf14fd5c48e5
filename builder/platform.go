package builder

import (
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// architectures are those that images can be made for, by the names of Go and OCI: Debian has them, and there are emulators.
var architectures = []string{"386", "amd64", "arm", "arm64", "mips64le", "ppc64le", "riscv64", "s390x"}

func parsePlatform(text string) (ocispec.Platform, error) {
	parts := strings.Split(text, "/")
	p := ocispec.Platform{OS: parts[0]}
	if len(parts) > 1 {
		p.Architecture = parts[1]
	}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	if len(parts) > 3 || p.OS != "linux" || !slices.Contains(architectures, p.Architecture) || len(parts) == 3 && p.Variant == "" {
		return ocispec.Platform{}, fault.New(fault.Invalid, "read platform %q: images are made for none of this name", text).
			WithHint("there are: linux/%s", strings.Join(architectures, ", linux/"))
	}
	return p, nil
}

func platformText(p ocispec.Platform) string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}
