package local

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// DefaultBoots is how many nodes boot at a time: it keeps two CPUs busy without making each boot slow.
const DefaultBoots = 8

// Ensure calls ensure for each node of a spec, so many at a time. It gives the nodes that are there, in the spec's order, and why
// others are not.
func Ensure(spec fleet.Spec, atATime int, ensure func(fleet.NodeSpec) (fleet.Node, error)) ([]fleet.Node, error) {
	nodes := make([]fleet.Node, len(spec.Nodes))
	errs := make([]error, len(spec.Nodes))
	var group errgroup.Group
	group.SetLimit(atATime)
	for i, want := range spec.Nodes {
		group.Go(func() error {
			if nodes[i], errs[i] = ensure(want); errs[i] != nil {
				errs[i] = fmt.Errorf("boot node %s: %w", want.Name, errs[i])
			}
			return nil
		})
	}
	_ = group.Wait()
	var booted []fleet.Node
	for i, n := range nodes {
		if errs[i] == nil {
			booted = append(booted, n)
		}
	}
	return booted, errors.Join(errs...)
}

// Explain adds the next step to what the disk of a folder refuses.
func Explain(err error, dir string) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.New(fault.NoSpace, "%w", err).WithHint("free space or inodes: df -h %s; df -i %s", dir, dir)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "%w", err).WithHint("%s must belong to the user of the agent", dir)
	}
	return err
}
