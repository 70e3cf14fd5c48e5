package install

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Format changes whenever the same packages are laid out or configured in another way than before.
const Format = "debian/install 8"

// key names all that determines the layers of a stage.
func (s *stage) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s %d %d\n", Format, s.o.Arch, s.o.Epoch, s.o.PackagesEpoch)
	for _, l := range s.o.Under {
		fmt.Fprintf(h, "under %s\n", l.DiffID)
	}
	for i, b := range s.o.Batches {
		fmt.Fprintf(h, "batch %d\n", i)
		for _, item := range b {
			p := item.Package
			fmt.Fprintf(h, "%s %s %s %s\n", p.Name, p.Version, p.Arch, p.SHA256)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
