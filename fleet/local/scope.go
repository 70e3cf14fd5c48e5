package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Scope is fleet.Scoped's, for the nodes of one folder on this machine; kind is what they are, in the plural.
func Scope(kind, host, dir string) (string, error) {
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("tell this machine from others: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("tell this machine from others: %w", err)
	}
	return strings.TrimSpace(fmt.Sprintf("%s of %s in %s %s", kind, host, dir, machine)), nil
}
