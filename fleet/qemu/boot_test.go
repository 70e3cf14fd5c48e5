package qemu

import (
	"testing"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// An image whose machine waits for a disk is refused before it is booted.
func TestDataVolumesAreRefused(t *testing.T) {
	if err := comesUp(images.Machine{}); err != nil {
		t.Error(err)
	}
	if err := comesUp(images.Machine{Volumes: []string{"data"}}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a machine that waits for a volume: %v", err)
	}
}
