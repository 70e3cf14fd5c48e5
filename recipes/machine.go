package recipes

import (
	"maps"
	"path"
	"regexp"
	"slices"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// Defaults of machines.
const (
	// MachineDebian is the Debian release whose kernel a machine gets when its base is none.
	MachineDebian = "bookworm"
	// MachineKernel is the package of Debian's kernel for clouds. It depends on that of the present version.
	MachineKernel = "linux-image-cloud-amd64"
)

// Machine is what a recipe says of the image's machine form.
type Machine struct {
	Debian  string   // release that the kernel comes from; "" is that of the base, else MachineDebian
	Kernel  string   // package; "" is MachineKernel
	Modules []string // kernel modules that are loaded besides those that every machine has
	Volumes []Volume // by label
	Pos     Position
}

// Volume is a file system that is found by its label and mounted before the services start; what it holds outlives the machine.
type Volume struct {
	Label string
	Path  string // absolute and clean
}

type machineEntry struct {
	Debian  string            `yaml:"debian" doc:"Debian release that the kernel comes from. Default: that of the base, else bookworm." pattern:"^[a-z][a-z0-9.-]*$"`
	Kernel  string            `yaml:"kernel" doc:"Package of the kernel, or one that depends on it. Default: linux-image-cloud-amd64." pattern:"^linux-image-[a-z0-9][a-z0-9.+-]*$"`
	Modules []string          `yaml:"modules" doc:"Kernel modules to load besides those that every machine has." pattern:"^[A-Za-z0-9_-]+$"`
	Volumes map[string]string `yaml:"volumes" doc:"Data volumes: the label of an ext4, and the folder of the image where it is mounted."`
	Node    *strictyaml.Node  `yaml:"-"`
}

var (
	kernelPattern = regexp.MustCompile(`^linux-image-[a-z0-9][a-z0-9.+-]*$`)
	modulePattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	labelPattern  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,16}$`)
)

// machine lays what a file says of machines over what is there: single values count, modules are appended, volumes merged.
func (l *loader) machine(f *file) {
	m := f.Machine
	if m == nil || m.Node == nil {
		return
	}
	r := l.recipe
	if r.Machine == nil {
		r.Machine = &Machine{}
	}
	r.Machine.Pos = f.Node.Locate("machine")
	if m.Debian != "" {
		l.matches(suitePattern, m.Debian, "a Debian release such as bookworm", f.Node.Locate("machine", "debian"))
		r.Machine.Debian = m.Debian
	}
	if m.Kernel != "" {
		l.matches(kernelPattern, m.Kernel, "a package of a kernel such as "+MachineKernel, f.Node.Locate("machine", "kernel"))
		r.Machine.Kernel = m.Kernel
	}
	for i, name := range m.Modules {
		l.matches(modulePattern, name, "the name of a kernel module", f.Node.Locate("machine", "modules", i))
		if !slices.Contains(r.Machine.Modules, name) {
			r.Machine.Modules = append(r.Machine.Modules, name)
		}
	}
	for _, label := range slices.Sorted(maps.Keys(m.Volumes)) {
		l.volume(label, m.Volumes[label], f.Node.Locate("machine", "volumes", label))
	}
}

func (l *loader) matches(pattern *regexp.Regexp, text, want string, pos Position) {
	if !pattern.MatchString(text) {
		l.fail(pos, "%q is not %s", text, want)
	}
}

func (l *loader) volume(label, at string, pos Position) {
	l.matches(labelPattern, label, "a label of 1 to 16 of A-Z, a-z, 0-9, dot, - and _", pos)
	if !path.IsAbs(at) || path.Clean(at) != at || at == "/" {
		l.fail(pos, "machine.volumes.%s %q is not an absolute path below /", label, at)
	}
	list := slices.DeleteFunc(l.recipe.Machine.Volumes, func(v Volume) bool { return v.Label == label })
	l.recipe.Machine.Volumes = append(list, Volume{Label: label, Path: at})
	slices.SortFunc(l.recipe.Machine.Volumes, func(a, b Volume) int {
		if a.Label < b.Label {
			return -1
		}
		return 1
	})
}
