package builder

import (
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/machine"
)

// MachineSpec is a machine that boots the machine form of an image, with whatever it writes thrown away: by firmware as other
// machines do, or its kernel directly. The caller adds its folder, ports, size and settings. One that waits for data volumes is
// fault.Unsupported here: it would not come up.
func MachineSpec(s *images.Store, m images.Machine, firmware bool) (machine.Spec, error) {
	if len(m.Volumes) > 0 {
		return machine.Spec{}, fault.New(fault.Unsupported, "boot the image: it waits for the data volume %s, which is not here", m.Volumes[0])
	}
	spec := machine.Spec{Disks: []machine.Disk{{Path: s.BlobPath(m.Disk.Digest), Format: machine.Format(m.Disk.Format), Throwaway: firmware, ReadOnly: !firmware}}}
	if !firmware {
		spec.Kernel = &machine.Kernel{Image: s.BlobPath(m.Kernel.Digest), Initrd: s.BlobPath(m.Initrd.Digest), Cmdline: m.Cmdline}
	}
	return spec, nil
}
