package orchestrator

import (
	"encoding/json"
	"errors"
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

// mutation is a defect that is put into a copy of the package: the simulation has to find it. All of them are in one program,
// each behind a condition, and one at a time is true.
type mutation struct {
	name     string
	file     string
	old, new string // old is there exactly once; MUTANT in new is whether this is the one
	from     int    // the seed to begin with: a little before one that finds it
	caught   []string
}

// What the simulation must catch, and by which invariant.
var mutations = []mutation{
	{"the fence is removed", "leader.go", "	o.fence = store.Write{Key: leaderKey, IfVersion: version, Check: true}\n",
		"	o.fence = store.Write{Key: leaderKey, IfVersion: version, Check: true}\n	if MUTANT {\n		o.fence = store.Write{Key: \"meta/nobody\", Check: true}\n	}\n", 350, []string{inv6Fence}},
	{"it is acted before it is journalled", "loop.go", "		s, actions, events, history := o.next(a)\n",
		"		s, actions, events, history := o.next(a)\n		for _, act := range actions {\n			if MUTANT {\n				o.start(ctx, s, act)\n			}\n		}\n", 0, []string{inv5Journal}},
	{"nothing is drained", "drain.go", "	if d.Over {\n		return true", "	if d.Over || MUTANT {\n		return true", 0, []string{inv3Connections}},
	{"nodes are shot while a table names them", "shoot.go", "	if fact.Routed {", "	if fact.Routed && !MUTANT {", 0, []string{inv3Routed, inv3Connections, inv12Silent}},
	{"unknown is taken for gone", "observe.go", "	if fact.Presence == fleet.Gone || n.Booted && fact.Absent {",
		"	if fact.Presence == fleet.Gone || fact.Presence == fleet.Unknown && MUTANT || n.Booted && fact.Absent {", 0, []string{inv11Unknown}},
	{"a failed boot is taken for no node", "observe.go", "!n.Booted && res.Final && fact.Absent {", "!n.Booted && res.Final && (fact.Absent || MUTANT) {", 2130, []string{inv11Unknown}},
	{"a silent edge is ignored", "edges.go", ` || w.edges.held[node] != ""`, ` || w.edges.held[node] != "" && !MUTANT`, 0, []string{inv12Silent}},
	{"the table of a later leader is overruled", "publish.go", "	if o.world.table.effective.Version.Epoch <= o.epoch {",
		"	if o.world.table.effective.Version.Epoch <= o.epoch || MUTANT {", 180, []string{inv6Effective}},
	{"two operations run at once", "begin.go", "	if under := r.s.exclusive(); under != nil {\n		if r.same(under, req) {",
		"	if under := r.s.exclusive(); under != nil && !MUTANT {\n		if r.same(under, req) {", 0, []string{inv6One}},
	{"a slot is used again too early", "world.go", "		if _, taken := w.slots[n]; !taken {", "		if _, taken := w.slots[n]; !taken || MUTANT && w.slots[n] != \"minted\" {", 0, []string{inv10Slot}},
	{"boots do not back off", "observe.go", "	fl.NotBefore = r.f.Now.Add(min(wait, maxBackoff))\n",
		"	fl.NotBefore = r.f.Now.Add(min(wait, maxBackoff))\n	if MUTANT {\n		fl.NotBefore = r.f.Now\n	}\n", 20, []string{inv8Storm}},
	{"the old node goes before the new one is healthy", "size.go", "		case c.healthy < size && !hopeless:",
		"		case (c.good < size || c.healthy < size && !MUTANT) && !hopeless:", 0, []string{inv4Fewer}},
	{"traffic comes before the nodes for it", "shift.go", "	if size == 0 || fl.healthy() >= need || op.Force {",
		"	if size == 0 || fl.healthy() >= need || op.Force || MUTANT && len(fl.Nodes) > 0 {", 70, []string{inv4Share}},
	{"nodes are routed to before they answer", "table.go", "		if n.State == NodeHealthy && n.Address != \"\" {",
		"		if (n.State == NodeHealthy || MUTANT && n.live()) && n.Address != \"\" {", 0, []string{inv3Gated}},
	{"a router that refuses once refuses for good", "shift.go", "min(waited, no.Span) >= refusedFor {", "waited >= refusedFor && (no.Span >= refusedFor || MUTANT) {", 8360, []string{inv3Split}},
	{"an abandoned fleet stays", "look.go", "			if err := d.Destroy(ctx, fl.ID); err != nil {", "			if MUTANT {\n				continue\n			}\n			if err := d.Destroy(ctx, fl.ID); err != nil {", 190, []string{inv7Rest}},
	{"a database boots beside the one before", "size.go", "		return r.stopBefore(fl)", "		return r.stopBefore(fl) || MUTANT", 30, []string{invDatabase}},
	{"a replacement is counted twice", "size.go", "	absent := max(missing-len(r.unreplaced(fl, c.doomed)), 0)",
		"	absent := max(missing-len(r.unreplaced(fl, c.doomed)), 0)\n	if MUTANT {\n		absent = max(missing-len(c.doomed), 0)\n	}\n	", 170, []string{inv7Rest}},
	{"a write without an answer is taken for none", "persist.go", "			if !errors.Is(err, store.ErrConflict) {", "			if !errors.Is(err, store.ErrConflict) && !MUTANT {", 45, []string{inv6GoesOn}},
	{"long connections end with the requests", "drain.go", "	if d.LongBy.IsZero() {\n", "	if d.LongBy.IsZero() || MUTANT {\n", 90, []string{inv3Early}},
	{"the time of a node counts from the decision", "drain.go", "	late := r.f.Now.Sub(d.LateSince)\n", "	late := r.f.Now.Sub(d.LateSince)\n	if MUTANT {\n		late = 0\n	}\n", 360, []string{inv3Connections}},
	{"nodes boot before the database is there", "migrate.go", "	_, due := s.expandOf(op)\n	return due\n", "	_, due := s.expandOf(op)\n	return due && !MUTANT\n", 0, []string{invSchema}},
	{"a command that failed is taken for done", "migrate.go", "	case t.Code != 0:\n", "	case t.Code != 0 && !MUTANT:\n", 50, []string{invSchema}},
	{"contract does not wait for other releases", "contract.go", "	if why := r.needed(fl, m.to); why != \"\" {", "	if why := r.needed(fl, m.to); why != \"\" && !MUTANT {", 0, []string{invSchema}},
	{"a release serves on any schema", "database.go", "	if version == 0 || schema.Fits(version) {", "	if version == 0 || schema.Fits(version) || MUTANT {", 215, []string{invSchema}},
	{"past a one-way step it goes back by itself", "abort.go", "	if op.OneWay == \"\" || op.Kind == KindContract {", "	if op.OneWay == \"\" || op.Kind == KindContract || MUTANT {", 810, []string{invOneWay}},
	{"nobody waits for an approval", "steer.go", "	if st.Approve == \"\" || ", "	if st.Approve == \"\" || MUTANT || ", 30, []string{invOneWay}},
	{"no answer is taken for a good one", "checks.go", "	case res.Err != nil:\n		return CheckUnknown, ", "	case res.Err != nil && MUTANT:\n		return CheckGood, nil, \"\"\n	case res.Err != nil:\n		return CheckUnknown, ", 130, []string{invEvidence}},
	{"what differs from its image stays", "size.go", "	if n.wanted() || n.Stray {", "	if n.wanted() || n.Stray && !MUTANT {", 50, []string{inv7Rest}},
	{"what does not differ is replaced for it", "drift.go", "		if !n.live() || n.Drift == nil || n.Stray || n.Asked {", "		if MUTANT && n.live() && n.Drift == nil {\n			n.Stray = true\n		}\n		if !n.live() || n.Drift == nil || n.Stray || n.Asked {", 0, []string{inv1Drift}},
}

// mutantSeeds is within how many a defect has to be found.
const mutantSeeds = 1000

// The list is true: each mutation still says what it says of the code.
func TestMutationsFitTheCode(t *testing.T) {
	if _, err := mutated(); err != nil {
		t.Error(err)
	}
}

// mutated are the files that mutations change, with all of them in, by name.
func mutated() (map[string]string, error) {
	files := map[string]string{"mutant.go": "package orchestrator\n\nimport \"os\"\n\nvar mutant = os.Getenv(\"RELEASE_MUTANT\")\n"}
	var errs []error
	for _, m := range mutations {
		source, there := files[m.file]
		if !there {
			read, err := os.ReadFile(m.file)
			if err != nil {
				return nil, err
			}
			source = string(read)
		}
		if n := strings.Count(source, m.old); n != 1 {
			errs = append(errs, fmt.Errorf("%s: %s has %d times what is to be replaced: %s", m.name, m.file, n, m.old))
		}
		files[m.file] = strings.Replace(source, m.old, strings.ReplaceAll(m.new, "MUTANT", fmt.Sprintf("(mutant == %q)", m.name)), 1)
	}
	return files, errors.Join(errs...)
}

// Each mutation is found within some seeds, by an invariant that it breaks, and without one there is nothing to find.
func TestMutationsAreCaught(t *testing.T) {
	if os.Getenv("RELEASE_SIMULATE") == "" {
		t.Skip("plays thousands of seeds: make mutate")
	}
	program := buildMutants(t)
	only := regexp.MustCompile(os.Getenv("RELEASE_MUTATION"))
	for _, m := range mutations {
		if !only.MatchString(m.name) {
			continue
		}
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			began := time.Now()
			out, err := m.play(t, program)
			found := regexp.MustCompile(`seed (\d+) violates "([^"]+)"`).FindStringSubmatch(out)
			switch {
			case err == nil:
				t.Fatalf("nothing finds it, of %d seeds from %d", mutantSeeds, m.from)
			case found == nil:
				t.Fatalf("%v\n%s", err, out)
			case !slices.Contains(m.caught, found[2]):
				t.Errorf("seed %s finds it by %q, want %q", found[1], found[2], m.caught)
			}
			t.Logf("seed %s finds it by %q, after %s", found[1], found[2], time.Since(began).Round(time.Second/10))
		})
	}
	t.Run("none", func(t *testing.T) {
		if out, err := (mutation{}).play(t, program, "-test.short"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// buildMutants is this test's program with all mutations in it. The files stay as they are: the compiler is told to read others.
func buildMutants(t *testing.T) string {
	t.Helper()
	files, err := mutated()
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir, replace := t.TempDir(), map[string]string{}
	for name, content := range files {
		replace[filepath.Join(here, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "mutants.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags", "-s -w", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// play lets the seeds look for the mutation.
func (m mutation) play(t *testing.T, program string, more ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append(more, "-test.run", "^TestManySeeds$", "-test.v", "-test.timeout", "10m")...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("RELEASE_SIMULATE=mutant=%d", m.from), "RELEASE_MUTANT="+m.name)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
