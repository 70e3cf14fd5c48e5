package install

import (
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

const (
	diversionsFile   = "var/lib/dpkg/diversions"
	statOverrideFile = "var/lib/dpkg/statoverride"
)

// diversion sends a file of all packages but one elsewhere (dpkg-divert(1)).
type diversion struct {
	to string // absolute
	by string // the package whose file stays; ":" is none
}

// override gives a file another owner and mode than its package does (dpkg-statoverride(1)).
type override struct {
	uid, gid int
	mode     uint32
}

// readRules reads what the system's owner, or a preinst script, wants done with files that come.
func (t *settler) readRules() error {
	t.diverted, t.overrides = map[string]diversion{}, map[string]override{}
	text, err := t.below.content(diversionsFile)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := 0; i+2 < len(lines); i += 3 {
		from, err := t.real(strings.TrimPrefix(lines[i], "/"))
		if err != nil {
			return err
		}
		t.diverted[from] = diversion{to: lines[i+1], by: lines[i+2]}
	}
	return t.readOverrides()
}

func (t *settler) readOverrides() error {
	text, err := t.below.content(statOverrideFile)
	if err != nil || len(text) == 0 {
		return err
	}
	users, err := t.ids("etc/passwd")
	if err != nil {
		return err
	}
	groups, err := t.ids("etc/group")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 {
			continue
		}
		uid, ok := users[f[0]]
		gid, gok := groups[f[1]]
		mode, err := strconv.ParseUint(f[2], 8, 12)
		if !ok || !gok || err != nil {
			return fault.New(fault.Failed, "/%s: %q names an owner or a mode that the system does not know", statOverrideFile, strings.TrimSpace(line)).
				WithHint("add the user before the override, or take the override out")
		}
		at, err := t.real(strings.TrimPrefix(f[3], "/"))
		if err != nil {
			return err
		}
		t.overrides[at] = override{uid: uid, gid: gid, mode: uint32(mode)}
	}
	return nil
}

// ids reads name → number of passwd(5) or group(5); "#number" stands for itself in an override.
func (t *settler) ids(file string) (map[string]int, error) {
	text, err := t.below.content(file)
	if err != nil {
		return nil, err
	}
	ids := map[string]int{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			continue
		}
		if n, err := strconv.Atoi(f[2]); err == nil && n >= 0 {
			ids[f[0]], ids["#"+f[2]] = n, n
		}
	}
	return ids, nil
}
