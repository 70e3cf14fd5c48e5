package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

// insideDir is where the scripts that drive an installation are seen in the sandbox.
const insideDir = "/run/release-install"

// mark begins a line by which the driver says what it does next.
const mark = "\x1e"

// fake stands over a program of the system while scripts run; nothing of it gets into the image.
type fake struct {
	name, target, text string
	// instead: only where the system has the program. Scripts may change its owner and mode then.
	instead bool
}

// fakes are the programs that do in a bake what they should do there.
//
//	policy-rc.d        invoke-rc.d asks it, and it denies starting any service
//	start-stop-daemon  for scripts that do not ask
//	ischroot           this is no running machine: libc6, for one, would tell init and wait
//	mandb              would index all manuals at each trigger; its index is left out, see rules
var fakes = [...]fake{
	{name: "policy-rc.d", target: "usr/sbin/policy-rc.d", text: "#!/bin/sh\nexit 101\n"},
	{name: "start-stop-daemon", target: "usr/sbin/start-stop-daemon", text: "#!/bin/sh\nexit 0\n"},
	{name: "ischroot", target: "usr/bin/ischroot", text: "#!/bin/sh\nexit 0\n"},
	{name: "mandb", target: "usr/bin/mandb", text: "#!/bin/sh\nexit 0\n", instead: true},
}

// fakeMounts writes the fakes and says where they go.
func (s *stage) fakeMounts() ([]sandbox.Mount, error) {
	now := newView(append([]string{s.upper}, s.lower()...))
	var mounts []sandbox.Mount
	for _, f := range fakes {
		if f.instead && now.file(f.target) == "" {
			continue
		}
		file := s.path("fake-" + f.name)
		if err := os.WriteFile(file, []byte(f.text), 0o755); err != nil {
			return nil, err
		}
		if err := os.Chmod(file, 0o755); err != nil {
			return nil, err
		}
		mounts = append(mounts, sandbox.Mount{Source: file, Target: "/" + f.target, ReadOnly: !f.instead})
	}
	return mounts, nil
}

// lower are the folders below what scripts change, topmost first.
func (s *stage) lower() []string {
	var dirs []string
	for _, g := range slices.Backward(s.done) {
		dirs = append(dirs, g.root)
	}
	return append(dirs, s.under...)
}

// environment is what scripts see, and nothing else. Of the locale they get the encoding alone: the rest of C.UTF-8 is that of C,
// and each of some thousand processes would open a dozen files to learn that.
func (s *stage) environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "TERM=dumb", "TZ=UTC", "LC_CTYPE=C.UTF-8",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(s.o.Epoch, 10),
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "DEBCONF_NOWARNINGS=yes",
		"PERL_HASH_SEED=0", "PYTHONHASHSEED=0",
	}
}

// runPreinsts runs the preinst scripts of a batch over what was there before it.
func (s *stage) runPreinsts(ctx context.Context, b *batch) error {
	script, err := s.preinsts(b)
	if err != nil || script == "" {
		return err
	}
	s.tell(Event{Kind: Phase, Line: "preinst"})
	return s.run(ctx, b, script)
}

// configure runs dpkg; with preinsts before, where there was nothing to run them on before.
func (s *stage) configure(ctx context.Context, b *batch, preinsts bool) error {
	var script string
	if preinsts {
		var err error
		if script, err = s.preinsts(b); err != nil {
			return err
		}
	}
	s.tell(Event{Kind: Phase, Line: "configure"})
	script += "echo '" + mark + "configure'\n" +
		"exec dpkg --force-unsafe-io --force-confdef --force-confold --log=/dev/null --configure -a\n"
	if err := s.run(ctx, b, script); err != nil {
		return err
	}
	return s.checkConfigured(b)
}

// preinsts writes down the scripts of a batch and gives the driver's part that runs them, as dpkg does: in a folder of
// dpkg's own, by themselves, in the order of installation.
func (s *stage) preinsts(b *batch) (string, error) {
	var script strings.Builder
	packages := slices.Clone(b.packages)
	slices.SortFunc(packages, func(x, y *pkg) int { return x.order - y.order })
	for _, p := range packages {
		if _, ok := p.control["preinst"]; !ok {
			continue
		}
		dir := s.path("inside", p.Name+"_"+p.Arch)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		for name, f := range p.control {
			full := filepath.Join(dir, name)
			if err := os.WriteFile(full, f.Data, 0o600); err != nil {
				return "", err
			}
			if err := os.Chmod(full, os.FileMode(f.Mode)); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(&script, "preinst '%s' '%s'\n", p.Name, p.Arch)
	}
	if script.Len() == 0 {
		return "", nil
	}
	return s.preinstFunction() + script.String(), nil
}

func (s *stage) preinstFunction() string {
	return `ci=/var/lib/dpkg/tmp.ci
preinst() {
	echo "` + mark + `preinst $1"
	rm -rf $ci
	cp -Rp ` + insideDir + `/"$1_$2" $ci || exit 125
	DPKG_MAINTSCRIPT_PACKAGE=$1 DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_ARCH=$2 \
	DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_DEBUG=0 DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_FORCE=unsafe-io \
	DPKG_RUNNING_VERSION='` + string(s.dpkgVersion) + `' $ci/preinst install </dev/null || exit
	rm -rf $ci
}
`
}

// run executes a driver script in the system as it is now.
func (s *stage) run(ctx context.Context, b *batch, script string) error {
	if err := os.WriteFile(s.path("inside", "driver"), []byte("cd /\nulimit -c 0\n"+script), 0o644); err != nil {
		return err
	}
	mounts, err := s.fakeMounts()
	if err != nil {
		return err
	}
	mounts = append(mounts, sandbox.Mount{Source: s.path("inside"), Target: insideDir, ReadOnly: true})
	out := &output{tell: s.tell}
	spec := sandbox.Spec{
		Root:    sandbox.Root{Lower: s.lower(), Upper: s.upper, Work: s.path("work")},
		Command: []string{"/bin/sh", insideDir + "/driver"}, Env: s.environment(), Fixed: true,
		Network: sandbox.NoNetwork, Mounts: mounts, Emulator: s.emulator, Stdout: out, Stderr: out,
	}
	if s.o.alter != nil {
		s.o.alter(&spec)
	}
	exit, err := sandbox.Run(ctx, spec)
	out.flush()
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return s.failed(exit, out)
	}
	return nil
}

// checkConfigured holds the database against what a batch should be now.
func (s *stage) checkConfigured(b *batch) error {
	text, err := os.ReadFile(filepath.Join(s.upper, statusFile))
	if err != nil {
		return err
	}
	list, err := parseStatus(string(text))
	if err != nil {
		return err
	}
	state := map[string]string{}
	for _, i := range list {
		state[i.Name+":"+i.Arch] = i.paragraph.Get("Status")
	}
	for _, p := range b.packages {
		if got := state[p.Name+":"+p.Arch]; got != "install ok installed" {
			return fault.New(fault.Failed, "package %s %s: after its configuration dpkg calls it %q", p.Name, p.Version, got).
				WithHint("a dependency or a trigger of it is not satisfied: see the output above")
		}
	}
	return nil
}
