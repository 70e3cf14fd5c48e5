package disk

import (
	"fmt"

	"github.com/bootandshoot/release/internal/payload"
)

// MakeInitrd is the archive that the kernel unpacks as its first root.
func MakeInitrd(k Kernel, arch string) ([]byte, error) {
	program, err := payload.Program(payload.BootInit, arch)
	if err != nil {
		return nil, err
	}
	var c cpio
	c.dir("dev")
	c.device("dev/console", 5, 1)
	c.file("init", modeExec, program)
	c.dir("modules")
	for i, m := range k.Modules {
		c.file(fmt.Sprintf("modules/%03d-%s.ko", i, m.Name), modeFile, m.Data)
	}
	return c.bytes(), nil
}
