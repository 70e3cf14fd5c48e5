package install

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

const triggersDir = adminDir + "/triggers"

// interest is a trigger that a package wants to be told of.
type interest struct {
	name string // an absolute path, or a word
	line string // as dpkg keeps it behind the name: the package, and how
}

// interests reads a package's file of triggers, deb-triggers(5). What it activates, dpkg does itself when it configures.
func (p *pkg) interests() ([]interest, error) {
	var list []interest
	for line := range strings.Lines(string(p.control["triggers"].Data)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 || len(f) == 2 && strings.HasPrefix(f[0], "activate") {
			continue
		}
		if len(f) != 2 || strings.Contains(f[1], "/") && !path.IsAbs(f[1]) || strings.HasPrefix(f[1], ".") {
			return nil, fault.New(fault.Failed, "its file of triggers has the line %q", strings.TrimSpace(line))
		}
		switch f[0] {
		case "interest", "interest-await":
			list = append(list, interest{f[1], p.db()})
		case "interest-noawait":
			list = append(list, interest{f[1], p.db() + "/noawait"})
		default:
			return nil, fault.New(fault.Failed, "its file of triggers has the line %q", strings.TrimSpace(line))
		}
	}
	return list, nil
}

// triggers notes who waits for what, and what the new files set off in packages that were there before.
func (d *database) triggers(packages []*pkg, files map[string]string) error {
	add := func(name, line string) error {
		if _, ok := files[name]; !ok {
			text, err := d.t.below.content(name)
			if err != nil {
				return err
			}
			files[name] = string(text)
		}
		files[name] += line + "\n"
		return nil
	}
	// Those that came in this batch are told nothing: they look for themselves when they are configured.
	old, err := d.t.below.content(triggersDir + "/File")
	if err != nil {
		return err
	}
	for _, p := range packages {
		list, err := p.interests()
		if err != nil {
			return p.inPackage(err)
		}
		for _, i := range list {
			name, line := triggersDir+"/"+i.name, i.line
			if path.IsAbs(i.name) {
				name, line = triggersDir+"/File", i.name+" "+i.line
			}
			if err := add(name, line); err != nil {
				return err
			}
		}
	}
	for _, name := range setOff(string(old), packages) {
		if err := add(triggersDir+"/Unincorp", name+" -"); err != nil {
			return err
		}
	}
	return nil
}

// setOff lists the paths of interest at or above the packages' files.
func setOff(interests string, packages []*pkg) []string {
	want := map[string]bool{}
	for line := range strings.Lines(interests) {
		if f := strings.Fields(line); len(f) == 2 {
			want[f[0]] = true
		}
	}
	if len(want) == 0 {
		return nil
	}
	hit, seen := map[string]bool{}, map[string]bool{}
	for _, p := range packages {
		for _, r := range p.records {
			for at := "/" + r.Path; at != "/" && !seen[at]; at = path.Dir(at) {
				seen[at] = true
				if want[at] {
					hit[at] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(hit))
}
