package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// folder makes a command's folder with its files; both belong to who runs it.
func (r *Runner) folder(files []File) (string, error) {
	dir, err := os.MkdirTemp(r.base, runPattern)
	if err != nil {
		return "", fmt.Errorf("make the command's folder: %w", err)
	}
	for _, f := range files {
		err = errors.Join(err, place(dir, f))
	}
	if err == nil && r.user != nil {
		err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(r.user.UID), int(r.user.GID)))
		})
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("make the command's folder: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

const runPattern = "run-*"

// place writes a file. It lies in a new folder that is removed after the command, so nothing of it need survive a crash.
func place(dir string, f File) error {
	if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
		return fault.New(fault.Invalid, "%q leads out of the command's folder", f.Path)
	}
	path := filepath.Join(dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	if f.Executable {
		mode = 0o700
	}
	return os.WriteFile(path, f.Content, mode)
}

// elsewhereName is the file that says where the folders of commands are that another user runs.
const elsewhereName = "elsewhere"

// elsewhere is a folder that another user may pass through. Its name is new each time and its parent is everybody's, so its path
// is kept in the runner's own folder: what it is to remove the next runner learns from there only.
func elsewhere(dir string) (string, error) {
	path := filepath.Join(dir, elsewhereName)
	before, err := os.ReadFile(path)
	if err == nil {
		err = errors.Join(sweep(string(before)), os.RemoveAll(string(before)))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	made, err := os.MkdirTemp("/var/tmp", "release-hooks-*")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(made, 0o711); err != nil {
		return "", err
	}
	return made, atomicfile.Write(path, []byte(made), 0o600)
}
