package install

import (
	"runtime"

	"github.com/bootandshoot/release/internal/fault"
)

// goArch are Debian's names of architectures that differ from Go's.
var goArch = map[string]string{"i386": "386", "armhf": "arm", "armel": "arm", "ppc64el": "ppc64le", "mips64el": "mips64le"}

// emulate finds out how scripts of the architecture can run here.
func (s *stage) emulate() error {
	arch := s.o.Arch
	if other, ok := goArch[arch]; ok {
		arch = other
	}
	if arch == runtime.GOARCH || arch == "386" && runtime.GOARCH == "amd64" {
		return nil
	}
	return fault.New(fault.Unsupported, "packages for %s have scripts that this machine (%s) cannot run", s.o.Arch, runtime.GOARCH)
}
