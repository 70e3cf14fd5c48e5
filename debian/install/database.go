package install

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	adminDir   = "var/lib/dpkg"
	statusFile = adminDir + "/status"
)

// installed is a package of dpkg's status file.
type installed struct {
	debian.Package
	paragraph debian.Paragraph
}

func (i *installed) db() string {
	if i.MultiArch == "same" {
		return i.Name + ":" + i.Arch
	}
	return i.Name
}

// database is dpkg's database while a batch comes in.
type database struct {
	t       *settler
	status  string
	owners  map[string]*installed // by real path; read when first asked for
	dropped map[string][]string   // name in the database → real paths that others have now
}

func (t *settler) openDatabase() (*database, error) {
	text, err := t.below.content(statusFile)
	return &database{t: t, status: string(text), dropped: map[string][]string{}}, err
}

// parseStatus reads the packages of a status file that have files in the system.
func parseStatus(text string) ([]*installed, error) {
	paragraphs, err := debian.ParseParagraphs("/"+statusFile, text)
	if err != nil {
		return nil, err
	}
	var list []*installed
	for _, p := range paragraphs {
		f := strings.Fields(p.Get("Status"))
		if len(f) != 3 || f[2] == "not-installed" || f[2] == "config-files" {
			continue
		}
		own, err := debian.ParsePackage(p)
		if err != nil {
			return nil, err
		}
		list = append(list, &installed{Package: own, paragraph: p})
	}
	return list, nil
}

// checkInstalled refuses packages that are there already, and finds the version of dpkg.
func (s *stage) checkInstalled(below *view) error {
	text, err := below.content(statusFile)
	if err != nil {
		return err
	}
	list, err := parseStatus(string(text))
	if err != nil {
		return err
	}
	there := map[string]debian.Version{}
	for _, i := range list {
		there[i.Name+":"+i.Arch] = i.Version
		if i.Name == "dpkg" {
			s.dpkgVersion = i.Version
		}
	}
	for _, p := range s.packages {
		if v, ok := there[p.Name+":"+p.Arch]; ok {
			return fault.New(fault.Unsupported, "package %s %s: %s is installed already, and packages are not upgraded", p.Name, p.Version, v).
				WithHint("take the package out of the list, or bake on a base without it")
		}
		there[p.Name+":"+p.Arch] = p.Version
		if p.Name == "dpkg" {
			s.dpkgVersion = p.Version
		}
	}
	if s.dpkgVersion == "" {
		return fault.New(fault.Failed, "there is no dpkg among the packages, nor in what they come on").
			WithHint("begin with a base of Debian")
	}
	return nil
}

// owner finds the package that a file of the system belongs to; nil for none.
func (d *database) owner(at string, t *settler) (*installed, error) {
	if d.owners == nil {
		if err := d.readLists(t); err != nil {
			return nil, err
		}
	}
	return d.owners[at], nil
}

func (d *database) readLists(t *settler) error {
	d.owners = map[string]*installed{}
	list, err := parseStatus(d.status)
	if err != nil {
		return err
	}
	for _, i := range list {
		text, err := t.below.content(path.Join(infoDir, i.db()+".list"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			name := strings.Trim(line, "/\n")
			at, err := t.real(name)
			if err != nil {
				continue // led through what scripts have changed since
			}
			if v, ok := t.diverted[at]; ok && v.by != i.Name {
				if at, err = t.real(strings.TrimPrefix(v.to, "/")); err != nil {
					continue
				}
			}
			d.owners[at] = i
		}
	}
	return nil
}

// dropName notes that a file of an installed package is another package's now.
func (d *database) dropName(loser *installed, at string, t *settler) {
	d.dropped[loser.db()] = append(d.dropped[loser.db()], at)
}

// write brings the database up to date in the folder of the scripts' changes.
func (d *database) write(packages []*pkg) error {
	var status strings.Builder
	status.WriteString(d.status)
	for _, p := range packages {
		if p.pseudo {
			continue
		}
		if status.Len() > 0 && !strings.HasSuffix(status.String(), "\n\n") {
			status.WriteString("\n")
		}
		status.WriteString(p.statusText())
	}
	files := map[string]string{statusFile: status.String()}
	for name, fresh := range map[string]string{adminDir + "/available": "", infoDir + "/format": "1\n"} {
		if d.t.look(name).kind == noNode {
			files[name] = fresh
		}
	}
	if err := d.triggers(packages, files); err != nil {
		return err
	}
	if err := d.lists(files); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := d.t.writeUpper(name, files[name]); err != nil {
			return err
		}
	}
	for _, dir := range []string{"updates", "triggers", "alternatives", "parts"} {
		if err := d.t.upperDir(adminDir + "/" + dir); err != nil {
			return err
		}
	}
	return nil
}

// lists rewrites the lists of packages that lost files to others.
func (d *database) lists(files map[string]string) error {
	for name, gone := range d.dropped {
		file := path.Join(infoDir, name+".list")
		text, err := d.t.below.content(file)
		if err != nil {
			return err
		}
		var kept strings.Builder
		for line := range strings.Lines(string(text)) {
			if at, err := d.t.real(strings.Trim(line, "/\n")); err != nil || !slices.Contains(gone, at) {
				kept.WriteString(line)
			}
		}
		files[file] = kept.String()
	}
	return nil
}

// statusText is the package's paragraph: unpacked, with its conffiles in place.
func (p *pkg) statusText() string {
	text := strings.Trim(string(p.control["control"].Data), "\n")
	first, rest, _ := strings.Cut(text, "\n")
	var b strings.Builder
	b.WriteString(first + "\nStatus: install ok unpacked\n")
	if rest != "" {
		b.WriteString(rest + "\n")
	}
	sums := map[string]string{}
	for _, r := range p.records {
		if r.Type == deb.File && r.md5 != "" {
			sums["/"+r.Path] = r.md5
		}
	}
	head := "Conffiles:\n"
	for _, c := range p.conffiles {
		sum := c.md5
		if sum == "" {
			sum = sums[c.path]
		}
		if sum == "" || c.remove {
			continue
		}
		b.WriteString(head + " " + c.path + " " + sum + "\n")
		head = ""
	}
	b.WriteString("\n")
	return b.String()
}

// upperDir makes a folder in the scripts' changes, with the attributes that it has in the system.
func (t *settler) upperDir(dir string) error {
	if dir == "." {
		return nil
	}
	full := filepath.Join(t.stage.upper, dir)
	var st unix.Stat_t
	if unix.Lstat(full, &st) == nil && kindOf(st.Mode) == dirNode {
		return nil
	}
	n := t.look(dir) // before it is in the way of what is asked
	if err := t.upperDir(path.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(full, 0o755); err != nil {
		return err
	}
	if n.kind != dirNode {
		return os.Chmod(full, 0o755)
	}
	if err := os.Chown(full, n.uid, n.gid); err != nil {
		return err
	}
	return unix.Chmod(full, n.mode)
}

func (t *settler) writeUpper(name, content string) error {
	if err := t.upperDir(path.Dir(name)); err != nil {
		return err
	}
	full := filepath.Join(t.stage.upper, name)
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Chmod(full, 0o644)
}
