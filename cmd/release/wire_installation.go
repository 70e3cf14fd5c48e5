package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	localfleet "github.com/bootandshoot/release/fleet/local"
	"github.com/bootandshoot/release/internal/atomicfile"
)

// installationFile in the state folder says whose folder it is, also when the store is lost: {"schema":1,"id":…}. What runs
// carries that id, and an agent with another one would begin anew beside it.
const installationFile = "installation.json"

type installationRecord struct {
	Schema int    `json:"schema"`
	ID     string `json:"id"`
}

// installationBefore is the id that the state folder had, "" for none. Older agents wrote no such file: then it is that of the
// sandboxes that they left, if there is but one.
func installationBefore(dir string) (string, error) {
	var r installationRecord
	b, err := os.ReadFile(filepath.Join(dir, installationFile))
	switch {
	case err == nil && json.Unmarshal(b, &r) == nil && r.ID != "":
		return r.ID, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("read whose state folder it is: %w", err)
	}
	ids, err := localfleet.Installations(filepath.Join(dir, sandboxName))
	if err != nil || len(ids) != 1 {
		return "", err
	}
	return ids[0], nil
}

// installationsLeft are those of the nodes in the state folder.
func (a *agent) installationsLeft() ([]string, error) {
	sandboxes, err := localfleet.Installations(filepath.Join(a.dir, sandboxName))
	machines, err2 := localfleet.Installations(a.machines())
	return append(sandboxes, machines...), errors.Join(err, err2)
}

// keepInstallation writes whose folder it is. A folder that was another one's, of which nodes are left, says so at each start.
func (a *agent) keepInstallation(before, id string) error {
	if before != "" && before != id {
		left, err := a.installationsLeft()
		if err != nil {
			return err
		}
		if slices.Contains(left, before) {
			a.log.Error("the store is another installation's than the nodes that run from this state folder: they are left alone; put the store back that belongs here",
				"store", id, "nodes", before, "folder", a.dir)
			return nil
		}
	}
	b, err := json.Marshal(installationRecord{Schema: 1, ID: id})
	if err != nil {
		return fmt.Errorf("write whose state folder it is: %w", err)
	}
	path := filepath.Join(a.dir, installationFile)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(b) {
		return nil
	}
	return atomicfile.Write(path, b, 0o600)
}
