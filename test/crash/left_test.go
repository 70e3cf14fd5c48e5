package crash

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/router/embedded"
)

// nothingButWhatRuns holds the driver's folder against what the agent knows.
func (s *story) nothingButWhatRuns() {
	s.t.Helper()
	var has, knows []string
	s.Until("the driver to have the nodes that the agent knows, and no others", time.Minute, func() bool {
		knows = nil
		for _, fl := range s.status().Fleets {
			for _, n := range fl.Nodes {
				knows = append(knows, n.ID)
			}
		}
		slices.Sort(knows)
		has = entries(filepath.Join(s.Dir, "s", s.driver, "nodes"))
		return slices.Equal(has, knows)
	})
}

// nothingLeft holds that nothing of the installation is there any more, once everything was destroyed.
func (s *story) nothingLeft() {
	s.t.Helper()
	var left []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left = slices.Concat(s.folders(), s.routes(), s.links(), s.groups(), s.processes())
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	if st := s.status(); len(st.Fleets)+len(st.Found) > 0 || st.Operation != nil {
		s.t.Errorf("the agent knows of %+v", st.Status)
	}
	for _, what := range left {
		s.t.Errorf("left is %s", what)
	}
}

// folders are nodes and volumes in the driver's folder, and what was moved away there to be removed.
func (s *story) folders() (left []string) {
	for _, kind := range []string{"nodes", "volumes", "trash"} {
		dir := filepath.Join("s", s.driver, kind)
		for _, name := range entries(filepath.Join(s.Dir, dir)) {
			left = append(left, filepath.Join(dir, name))
		}
	}
	return left
}

// routes are those that the router serves.
func (s *story) routes() (left []string) {
	client := embedded.NewClient(filepath.Join(s.Dir, "s/router"))
	defer client.Close()
	t, err := client.Applied(s.t.Context())
	if err != nil {
		return []string{err.Error()}
	}
	for _, r := range t.Routes {
		left = append(left, "route "+r.Name)
	}
	return left
}

// links are network devices that carry the installation's id.
func (s *story) links() (left []string) {
	var installation struct{ ID string }
	b, err := os.ReadFile(filepath.Join(s.Dir, "s/installation.json"))
	if err == nil {
		err = json.Unmarshal(b, &installation)
	}
	if err != nil || installation.ID == "" {
		return []string{"an installation without an id: " + string(b)}
	}
	out, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, installation.ID) {
			left = append(left, "network device "+strings.TrimSpace(line))
		}
	}
	return left
}

// groups are control groups of nodes that ever were.
func (s *story) groups() (left []string) {
	var names []string
	for line := range strings.Lines(s.repeat("events").Stdout) {
		var e api.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Node != "" {
			names = append(names, e.Node)
		}
	}
	if len(names) == 0 {
		return []string{"nothing in the journal"}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(e.Name(), "-"+n) }) {
			left = append(left, "control group "+path)
		}
		return nil
	})
	return left
}

// processes are those that work with the installation's folder, but for the agent and the router.
func (s *story) processes() (left []string) {
	for _, name := range entries("/proc") {
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", name, "cmdline"))
		mounts, _ := os.ReadFile(filepath.Join("/proc", name, "mountinfo"))
		dir, _ := os.Readlink(filepath.Join("/proc", name, "cwd"))
		command := strings.ReplaceAll(string(cmdline), "\x00", " ")
		if strings.Contains(string(mounts), s.Dir+"/") || strings.HasPrefix(dir, s.Dir) || strings.Contains(command, s.Dir) && !strings.Contains(command, " router run ") {
			left = append(left, "process "+name+": "+command)
		}
	}
	return left
}

// entries are the names in a folder, sorted; none when there is no such folder.
func entries(dir string) (names []string) {
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
