// Package removal removes folders that RemoveAll leaves: an overlay's work folder, and whatever an image or a command made,
// may be closed to the ordinary user who owns it.
package removal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Tree removes a folder with all that is in it; absent is success. Folders that are closed to their owner are opened
// first, without following links. What belongs to somebody else is an error that is fs.ErrPermission.
func Tree(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := open(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
}

func open(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return err
	}
	if info.Mode()&0o700 != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return openFolders(root, ".")
}

// openFolders goes on after an error, so that all that can be removed will be.
func openFolders(root *os.Root, name string) error {
	if err := root.Chmod(name, 0o700); err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), name)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, openFolders(root, filepath.Join(name, e.Name())))
		}
	}
	return errors.Join(errs...)
}
