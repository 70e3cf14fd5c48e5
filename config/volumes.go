package config

import (
	"path"
	"slices"
	"strings"
)

// Who may write to a volume.
const (
	WriterOne  = "one"  // one node at a time, over all releases
	WriterMany = "many" // all nodes of the role
)

// Volume is data that outlives the nodes that have it.
type Volume struct {
	Name   string `yaml:"name,required" json:"name" doc:"Name of the volume: 1 to 20 of a-z, 0-9 and -, beginning with a letter." pattern:"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"`
	Path   string `yaml:"path,required" json:"path" doc:"Where nodes have it: an absolute path." pattern:"^/"`
	Writer string `yaml:"writer" json:"writer" doc:"one: at most one node has it at any time, over all releases, and it is handed over in the cutover. many: all nodes of the role have it." default:"one" enum:"one,many"`
	Size   Bytes  `yaml:"size,omitempty" json:"size,omitempty" doc:"The most that it can hold, where driver is qemu: at least 16MiB. It takes only the space that is used; a volume that is there grows, and never shrinks. Default: 10GiB."`
}

// leastVolume is the smallest that is worth its journal.
const leastVolume Bytes = 16 << 20

// OneWriter says whether the nodes of the fleet have a volume that is for one of them at a time.
func (f Fleet) OneWriter() bool {
	return slices.ContainsFunc(f.Volumes, func(v Volume) bool { return v.Writer == WriterOne })
}

// notForVolumes are places that every node has from its driver.
var notForVolumes = []string{"/proc", "/sys", "/dev", "/tmp", "/run"}

func (c *checker) volumes(f *Fleet) {
	for i, v := range f.Volumes {
		at := indexed("fleet.volumes", i)
		if c.decodes(new(string), "fleet", "volumes", i, "name") {
			pos := c.at("fleet", "volumes", i, "name")
			switch {
			case !validName(v.Name):
				c.fail(pos, "%s.name %q must be 1 to %d of a-z, 0-9 and -, beginning with a letter", at, v.Name, maxName)
			case slices.IndexFunc(f.Volumes, func(o Volume) bool { return o.Name == v.Name }) < i:
				c.fail(pos, "%s.name %q is given twice", at, v.Name)
			}
		}
		if c.decodes(new(string), "fleet", "volumes", i, "path") {
			c.volumePath(f, i, at)
		}
		if v.Size != 0 && c.decodes(new(Bytes), "fleet", "volumes", i, "size") {
			c.volumeSize(f, i, at)
		}
	}
	if f.OneWriter() && f.Size > 1 {
		c.fail(c.at("fleet", "size"), "fleet.size must be 1, not %d: of a volume with one writer only one node can have it", f.Size).
			WithHint("let all nodes have it, if the app can do that: writer: many")
	}
}

// volumeSize checks the size of one that has one.
func (c *checker) volumeSize(f *Fleet, i int, at string) {
	pos := c.at("fleet", "volumes", i, "size")
	switch {
	case f.Driver != DriverQEMU:
		c.fail(pos, "%s.size: only volumes of machines have a size, with fleet.driver qemu", at).
			WithHint("leave it out: elsewhere a volume is a folder, and holds what the disk does")
	case f.Volumes[i].Size < leastVolume:
		c.fail(pos, "%s.size must be at least %s", at, leastVolume)
	}
}

// volumePath checks a path, and that no two volumes lie in each other.
func (c *checker) volumePath(f *Fleet, i int, at string) {
	v, pos := f.Volumes[i], c.at("fleet", "volumes", i, "path")
	if !strings.HasPrefix(v.Path, "/") || path.Clean(v.Path) != v.Path || v.Path == "/" || strings.ContainsAny(v.Path, "\x00:") {
		c.fail(pos, "%s.path %q must be an absolute path such as /srv/data", at, v.Path)
		return
	}
	inside := func(below, above string) bool { return below == above || strings.HasPrefix(below, above+"/") }
	if j := slices.IndexFunc(notForVolumes, func(p string) bool { return inside(v.Path, p) }); j >= 0 {
		c.fail(pos, "%s.path %q: %s is every node's own", at, v.Path, notForVolumes[j])
	}
	for _, o := range f.Volumes[:i] {
		if o.Path != "" && (inside(v.Path, o.Path) || inside(o.Path, v.Path)) {
			c.fail(pos, "%s.path %q: the volume %s is at %s already", at, v.Path, o.Name, o.Path)
		}
	}
}

// handover finds what an app cannot have whose nodes cannot run beside those of the release before: shares of the traffic.
func (c *checker) handover(a *App) {
	if len(a.Cutover.Steps) < 2 {
		return
	}
	handed := ""
	for _, name := range a.RoleNames() {
		switch role := a.Role(name); {
		case role.Accessory:
		case role.Fleet.OneWriter():
			handed = name
		case role.Routed() || role.Start == StartShare:
			return
		}
	}
	if handed != "" {
		c.fail(c.at("cutover", "steps"), "cutover.steps: %s hands a volume with one writer over, so it has all of the traffic or none", handed).
			WithHint("leave the steps out, or give the volume writer: many if the app can do that")
	}
}

// share checks a role whose nodes come with the traffic.
func (c *checker) share(role *Role) {
	if role.Start == StartShare && role.Fleet.OneWriter() {
		c.fail(c.root.LocateKey("start"), "start: nodes of a role that has a volume with one writer boot when it is handed over")
	}
}
