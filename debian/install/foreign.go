package install

import (
	"cmp"

	"github.com/bootandshoot/release/sandbox"
)

// goArch are Debian's names of architectures that differ from Go's.
var goArch = map[string]string{"i386": "386", "armhf": "arm", "armel": "arm", "ppc64el": "ppc64le", "mips64el": "mips64le"}

// emulate finds out how scripts of the architecture can run here.
func (s *stage) emulate() (err error) {
	s.emulator, err = sandbox.Emulator(cmp.Or(goArch[s.o.Arch], s.o.Arch))
	return err
}
