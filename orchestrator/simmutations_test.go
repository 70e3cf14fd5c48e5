package orchestrator

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// mutation is a defect that is put into a copy of the package: the simulation has to find it.
type mutation struct {
	name     string
	file     string
	old, new string // old is there exactly once
	caught   []string
}

// What the simulation must catch, and by which invariant.
var mutations = []mutation{
	{"the fence is removed", "leader.go", `o.fence = store.Write{Key: leaderKey, IfVersion: version, Check: true}`,
		`o.fence = store.Write{Key: "meta/nobody", Check: true}`, []string{inv6Fence}},
	{"it is acted before it is journalled", "loop.go", "		s, actions, events, history := o.next(a)\n",
		"		s, actions, events, history := o.next(a)\n		for _, act := range actions {\n			o.start(ctx, s, act)\n		}\n", []string{inv5Journal}},
	{"nothing is drained", "drain.go", "	if d.Over {\n		return true", "	if d.Over || l.long >= 0 {\n		return true", []string{inv3Connections}},
	{"nodes are shot while a table names them", "shoot.go", "	if fact.Routed {", "	if fact.Routed && n.Name == \"\" {", []string{inv3Routed, inv3Connections, inv12Silent}},
	{"unknown is taken for gone", "observe.go", "	if fact.Presence == fleet.Gone || n.Booted && fact.Absent {",
		"	if fact.Presence == fleet.Gone || fact.Presence == fleet.Unknown || n.Booted && fact.Absent {", []string{inv11Unknown}},
	{"a silent edge is ignored", "edges.go", ` || w.edges.held[node] != ""`, "", []string{inv12Silent}},
	{"the table of a later leader is overruled", "publish.go", "	if o.world.table.effective.Version.Epoch <= o.epoch {", "	if o.epoch > 0 {", []string{inv6Effective}},
	{"two operations run at once", "begin.go", "	if under := r.s.exclusive(); under != nil {\n		if r.same(under, req) {",
		"	if under := r.s.exclusive(); under != nil && under.ID == \"\" {\n		if r.same(under, req) {", []string{inv6One}},
	{"a slot is used again too early", "world.go", "		if _, taken := w.slots[n]; !taken {", "		if w.slots[n] != \"minted\" {", []string{inv10Slot}},
	{"boots do not back off", "observe.go", "	fl.NotBefore = r.f.Now.Add(min(wait, maxBackoff))", "	fl.NotBefore = r.f.Now.Add(min(wait, 0))", []string{inv8Storm}},
	{"the old node goes before the new one is healthy", "size.go", "		case c.healthy < size && !hopeless:", "		case c.good < size && !hopeless:", []string{inv4Fewer}},
	{"traffic comes before the nodes for it", "shift.go", "	if size == 0 || fl.healthy() >= need || op.Force {", "	if size == 0 || len(fl.Nodes) > 0 {", []string{inv4Share}},
	{"nodes are routed to before they answer", "table.go", "		if n.State == NodeHealthy && n.Address != \"\" {", "		if n.live() && n.Address != \"\" {", []string{inv3Gated}},
	{"a write without an answer is taken for none", "persist.go", "				o.world.unsure[s.Key] = true", "				o.world.unsure[s.Key] = false", []string{inv7Rest}},
	{"an abandoned fleet stays", "look.go", "			if err := d.Destroy(ctx, fl.ID); err != nil {", "			if err := ctx.Err(); err != nil {", []string{inv7Rest}},
	{"a database boots beside the one before", "size.go", "		return r.stopBefore(fl)", "		return true", []string{invDatabase}},
	{"long connections end with the requests", "drain.go", "	return d.LongBy\n", "	return by\n", []string{inv3Early}},
	{"a replacement is counted twice", "size.go", "max(missing-len(r.unreplaced(fl, c.doomed)), 0)", "max(missing-len(c.doomed), 0)", []string{inv7Rest}},
}

// The list is true: each mutation still says what it says of the code.
func TestMutationsFitTheCode(t *testing.T) {
	for _, m := range mutations {
		if _, err := m.source(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

func (m mutation) source() (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return "", fmt.Errorf("%s has %d times what is to be replaced: %s", m.file, n, m.old)
	}
	return strings.Replace(string(source), m.old, m.new, 1), nil
}

// Each mutation is found within some thousand seeds, by an invariant that it breaks.
func TestMutationsAreCaught(t *testing.T) {
	if os.Getenv("RELEASE_SIMULATE") == "" {
		t.Skip("builds this package some twenty times: make mutate")
	}
	only := regexp.MustCompile(os.Getenv("RELEASE_MUTATION"))
	for _, m := range mutations {
		if !only.MatchString(m.name) {
			continue
		}
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			program, built := m.build(t), time.Now()
			out := m.play(t, program)
			found := regexp.MustCompile(`seed (\d+) violates "([^"]+)"`).FindStringSubmatch(out)
			if found == nil {
				t.Fatalf("no seed finds it:\n%s", out)
			}
			if !slices.Contains(m.caught, found[2]) {
				t.Errorf("seed %s finds it by %q, want %q", found[1], found[2], m.caught)
			}
			t.Logf("seed %s finds it by %q, after %s", found[1], found[2], time.Since(built).Round(time.Second/10))
		})
	}
}

// build is this test's program with the mutation in it.
func (m mutation) build(t *testing.T) string {
	t.Helper()
	source, err := m.source()
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: filepath.Join(dir, m.file)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{m.file: source, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "mutant.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags", "-s -w", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

func (m mutation) play(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^TestManySeeds$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), "RELEASE_SIMULATE=mutant", "RELEASE_MUTATION=")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "every seed passed"
	}
	return string(out)
}
