package guest

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// View mounts folders as the layers of a read-only overlay, the uppermost first, nowhere in the tree.
func View(folders []string) (int, error) {
	var lower []string
	for _, dir := range folders {
		fd, err := openPath(dir)
		if err != nil {
			return -1, err
		}
		defer unix.Close(fd)
		lower = append(lower, FDPath(fd))
	}
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount overlay: %w", err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigSetFlag(ctx, "userxattr"); err != nil {
		return -1, fmt.Errorf("mount overlay: option userxattr: %w", err)
	}
	if err := unix.FsconfigSetString(ctx, "lowerdir", strings.Join(lower, ":")); err != nil {
		return -1, fmt.Errorf("mount overlay: its layers: %w", err)
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("mount overlay: %w", err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrQuiet|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return -1, fmt.Errorf("mount overlay: %w", err)
	}
	return fd, nil
}
