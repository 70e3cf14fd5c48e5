package local

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/removal"
)

func (n Nodes[R]) trash(name string) string { return filepath.Join(n.Root, "trash", name) }

// Aside makes a folder for what is not whole yet or no more, and is nobody's. Whatever a crash leaves in it, Sweep removes.
func (n Nodes[R]) Aside(name string) (string, error) { return os.MkdirTemp(n.trash(""), name+"-*") }

// Discard removes a node's folder; none is well. It is moved away first, so that a crash leaves no half of a node that looks like a
// whole one.
func (n Nodes[R]) Discard(node string) error {
	bin, err := n.Aside(node)
	if err != nil {
		return fmt.Errorf("remove folder: %w", err)
	}
	if err := os.Rename(n.Dir(node), filepath.Join(bin, "node")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove folder: %w", err)
	}
	failpoint.Pass(failpoint.NodeTrashed)
	return removal.Tree(bin)
}

// Sweep removes what a crash left: the trash, and folders without a whole record, whose nodes a crash kept from beginning, or which
// ended with the machine. end makes sure that nothing of such a node runs.
func (n Nodes[R]) Sweep(log *slog.Logger, end func(node string) error) error {
	entries, _ := os.ReadDir(n.trash(""))
	for _, e := range entries {
		if err := removal.Tree(n.trash(e.Name())); err != nil {
			log.Warn("cannot empty trash", "folder", e.Name(), "error", err)
		}
	}
	entries, err := os.ReadDir(n.Dir(""))
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for _, e := range entries {
		if _, err := n.Read(e.Name()); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := end(e.Name()); err != nil {
			return fmt.Errorf("remove half-made node: %w", err)
		}
		if err := removal.Tree(n.Dir(e.Name())); err != nil {
			return fmt.Errorf("remove half-made node: %w", err)
		}
	}
	return nil
}
