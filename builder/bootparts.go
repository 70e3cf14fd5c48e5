package builder

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/bootandshoot/release/machine"
)

// volumeSize is that of a volume for a boot test, in bytes.
const volumeSize = 64 << 20

// freePort is one of this machine's that nobody listens at now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// endMachines ends the machines that a bake that does not live any more left in its work folder.
func (b *bake) endMachines(ctx context.Context, dir string) {
	list, err := filepath.Glob(filepath.Join(dir, "boot-*", "machine"))
	if err != nil {
		return
	}
	for _, dir := range list {
		if _, err := machine.Clear(ctx, dir); err != nil {
			b.log.Warn("cannot end the machine of an earlier bake", "folder", dir, "error", err)
		}
	}
}
