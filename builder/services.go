package builder

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/payload"
	"github.com/bootandshoot/release/recipes"
	"github.com/bootandshoot/release/supervisor"
)

// Where the supervisor and its file lie in an image.
const (
	supervisorDir     = "/usr/lib/release"
	supervisorProgram = supervisorDir + "/" + payload.Supervise
	supervisorConfig  = supervisorDir + "/services.json"
)

// servicesStep puts what runs the services of an image on top of it, as its last layer: the supervisor with its file where
// the recipe asks for more than running one command, and units where the image has systemd, so that the same root file
// system also boots as a machine.
type servicesStep struct {
	list       []recipes.Service // in the order of starting
	supervised bool
	systemd    bool
	config     supervisor.Config
	base       ocispec.ImageConfig // of the image, the recipe's values laid over it
	port       int                 // 0 for none
}

func (s *servicesStep) name() string {
	var names []string
	for _, service := range s.list {
		names = append(names, service.Name)
	}
	return short("services " + strings.Join(names, ", "))
}

func (s *servicesStep) at() recipes.Position { return s.list[0].Pos }

// withServices is the image of the layers so far, with what runs its services on top.
func (b *bake) withServices(ctx context.Context, config ocispec.Image, st *state, res *Result) (images.Image, error) {
	if err := b.checkCommand(ctx, st); err != nil {
		return images.Image{}, err
	}
	s, err := b.services(ctx, b.image(config, st, res.Reproducible), st)
	if err != nil {
		return images.Image{}, err
	}
	if s != nil {
		if !s.supervised { // which was counted from the beginning
			b.report.total++
		}
		if err := b.step(ctx, s, st, res); err != nil {
			return images.Image{}, err
		}
	}
	img := b.image(config, st, res.Reproducible)
	return img, s.command(&img)
}

// services says what an image with these layers needs to run its services; nil for nothing.
func (b *bake) services(ctx context.Context, img images.Image, st *state) (*servicesStep, error) {
	if len(b.recipe.Services) == 0 {
		return nil, nil //nolint:nilnil // an image without services of its own
	}
	s := &servicesStep{list: b.recipe.Order(), supervised: b.recipe.Supervised(), base: img.Config.Config}
	if ports := img.Ports(); len(ports) > 0 {
		s.port = ports[0]
	}
	var err error
	if s.systemd, err = b.hasSystemd(ctx, st); err != nil {
		return nil, err
	}
	if !s.supervised && !s.systemd {
		return nil, nil //nolint:nilnil // the command is all there is to it
	}
	s.config = supervisorConfigOf(s.list, s.base)
	return s, nil
}

// hasSystemd looks for systemd's own program, or remembers for these layers.
func (b *bake) hasSystemd(ctx context.Context, st *state) (bool, error) {
	record := b.cache.spread("places", keyOf("systemd", st.chain()))
	var has bool
	if b.cache.load(record, &has) {
		return has, nil
	}
	t, err := st.look(ctx)
	if err != nil {
		return false, err
	}
	for _, at := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		_, n, err := t.resolve(at)
		has = has || err == nil && n != nil && n.kind == images.File
	}
	return has, b.cache.save(record, has)
}

// supervisorConfigOf is the supervisor's file. Services that run as the image's user name none: the supervisor runs as
// that user itself unless a service needs another one.
func supervisorConfigOf(list []recipes.Service, base ocispec.ImageConfig) supervisor.Config {
	users := serviceUsers(list, base.User)
	var c supervisor.Config
	for _, s := range list {
		made := supervisor.Service{Name: s.Name, Cmd: s.Cmd, Restart: supervisor.Restart(s.Restart), User: users[s.Name], Env: environ(s.Env), Dir: s.Workdir,
			After: slices.Sorted(slices.Values(s.After)), Stop: supervisor.Stop{Signal: s.Signal, Grace: supervisor.Duration(s.Grace)}}
		if home, ok := lookup(base.Env, "HOME"); ok && made.User != "" && s.Env["HOME"] == "" {
			made.Env = append(made.Env, "HOME="+home) // the image's own, which counts more than the user's
			slices.Sort(made.Env)
		}
		c.Services = append(c.Services, made)
	}
	return c
}

// serviceUsers are the users that the supervisor changes to; none when all services run as the image's.
func serviceUsers(list []recipes.Service, image string) map[string]string {
	users := map[string]string{}
	switches := false
	for _, s := range list {
		user := cmp.Or(s.User, image)
		if isRoot(user) {
			user = ""
		}
		users[s.Name] = user
		switches = switches || user != image && !(user == "" && isRoot(image))
	}
	if !switches {
		return nil
	}
	return users
}

func isRoot(user string) bool {
	return slices.Contains([]string{"", "root", "0", "root:root", "0:0", "root:0", "0:root"}, user)
}

// command changes the image's configuration to one that runs the supervisor.
func (s *servicesStep) command(img *images.Image) error {
	if s == nil || !s.supervised {
		return nil
	}
	c := &img.Config.Config
	c.Entrypoint, c.Cmd = []string{supervisorProgram, supervisorConfig}, nil
	// The signal of the base's own program would not stop the supervisor.
	c.StopSignal = ""
	if serviceUsers(s.list, c.User) != nil {
		c.User = ""
	}
	text, err := json.Marshal(s.config.Services)
	if err != nil {
		return fmt.Errorf("write services: %w", err)
	}
	img.Annotations[images.AnnotationServices] = string(text)
	return nil
}

func (s *servicesStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	f := fileStep{name: s.name()}
	var inputs []any
	var units []file
	var config []byte
	if s.supervised {
		program, err := payload.Key(payload.Supervise, b.platform.Architecture)
		if err != nil {
			return outcome{}, err
		}
		if config, err = s.config.Encode(); err != nil {
			return outcome{}, err
		}
		f.to, inputs = append(f.to, supervisorDir), append(inputs, program, config)
	}
	if s.systemd {
		t, err := s.treeForUnits(ctx, st)
		if err != nil {
			return outcome{}, err
		}
		made := s.unitFiles(t)
		units = made.list
		f.to, inputs = append(f.to, unitDir), append(inputs, made.sum)
	}
	f.inputs = keyOf(append(inputs, "services")...)
	f.files = func(ctx context.Context) (all [][]file, err error) {
		if s.supervised {
			files, err := supervisorFiles(b.platform.Architecture, config)
			if err != nil {
				return nil, err
			}
			all = append(all, files)
		}
		if s.systemd {
			all = append(all, units)
		}
		return all, s.checkUsers(ctx, b, st)
	}
	return f.make(ctx, b, st)
}

// treeForUnits is nil, which saves reading the layers, when no program has to be looked for.
func (s *servicesStep) treeForUnits(ctx context.Context, st *state) (*tree, error) {
	for _, service := range s.list {
		if !strings.Contains(service.Cmd[0], "/") {
			return st.look(ctx)
		}
	}
	return nil, nil //nolint:nilnil // nothing to look for
}

// checkUsers finds users that the image has not before a node does.
func (s *servicesStep) checkUsers(ctx context.Context, b *bake, st *state) error {
	t, err := st.look(ctx)
	if err != nil {
		return err
	}
	for _, service := range s.list {
		if _, err := resolveOwner(ctx, b.store, t, service.User); err != nil {
			return fmt.Errorf("user of service %s: %w", service.Name, err)
		}
	}
	return nil
}

func supervisorFiles(arch string, config []byte) ([]file, error) {
	program, err := payload.Program(payload.Supervise, arch)
	if err != nil {
		return nil, err
	}
	var m madeFiles
	m.dir(".")
	m.file(payload.Supervise, program, 0o755)
	m.file(path.Base(supervisorConfig), config, 0o644)
	return m.done().list, nil
}

func lookup(env []string, name string) (string, bool) {
	for _, kv := range env {
		if n, v, ok := strings.Cut(kv, "="); ok && n == name {
			return v, true
		}
	}
	return "", false
}

func environ(env map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// madeFiles are files that exist in memory only.
type madeFiles struct {
	list   []file
	inputs []any
}

// generated is the outcome of madeFiles: the files and the hash of all that they are.
type generated struct {
	list []file
	sum  string
}

func (m *madeFiles) dir(rel string) {
	m.list = append(m.list, file{rel: rel, kind: images.Dir, mode: 0o755})
}

func (m *madeFiles) file(rel string, data []byte, mode uint32) {
	m.list = append(m.list, file{rel: rel, kind: images.File, mode: mode, size: int64(len(data)),
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	m.inputs = append(m.inputs, rel, images.DigestOf(data), mode)
}

func (m *madeFiles) link(rel, target string) {
	m.list = append(m.list, file{rel: rel, kind: images.Symlink, mode: 0o777, link: target})
	m.inputs = append(m.inputs, rel, target)
}

func (m *madeFiles) done() generated {
	sortFiles(m.list)
	return generated{m.list, keyOf(m.inputs...)}
}
