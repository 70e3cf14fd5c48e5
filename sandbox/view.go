package sandbox

import (
	"fmt"
	"os"

	"github.com/bootandshoot/release/sandbox/internal/guest"
)

// View opens folders as one read-only tree, as an overlay shows them: the first is the uppermost. It is in no folder, is
// reached through the descriptor alone, and goes with it. It shows what an ended sandbox left; the upper folder of one that runs
// must not be given.
func View(folders ...string) (*os.File, error) {
	fd, err := guest.View(folders)
	if err != nil {
		return nil, fmt.Errorf("view %s: %w", folders[0], err)
	}
	return os.NewFile(uintptr(fd), folders[0]), nil
}
