package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/payload"
	"github.com/bootandshoot/release/supervisor"
)

// Files that only machines have, in supervisorDir: what starts a machine without an init of its own, what it goes by, and the
// services of an image that is one command.
const (
	agentProgram  = supervisorDir + "/" + payload.Agent
	agentConfig   = supervisorDir + "/machine.json"
	agentServices = supervisorDir + "/machine-services.json"
)

// Init of machines, as images.Machine names it.
const (
	initSystemd    = "systemd"
	initSupervisor = "supervisor"
)

// stopGrace is how long an image's only command may take to end, as long as a recipe says nothing else.
const stopGrace = 10 * time.Second

// machineRoot is the root of a machine: the image with one more layer, which no container has.
type machineRoot struct {
	image   images.Image
	init    string
	cmdline []string
}

func (r machineRoot) chain() []images.Digest {
	var ids []images.Digest
	for _, l := range r.image.Layers {
		ids = append(ids, l.DiffID)
	}
	return ids
}

// machineConfig is the file of machine-agent.
type machineConfig struct {
	Hostname  string   `json:"hostname"`
	Env       []string `json:"env"`
	Supervise []string `json:"supervise"`
	Dir       string   `json:"dir"`
	User      string   `json:"user"`
	Units     []string `json:"units,omitempty"`
}

func (b *bake) machineConfig(img images.Image) machineConfig {
	return machineConfig{Hostname: b.hostname(), Env: machineEnvironment(img), Dir: cmp.Or(img.Config.Config.WorkingDir, "/"), User: userOf(img)}
}

// agent adds our programs, and the file that the first of them reads.
func (m *madeFiles) agent(c machineConfig) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write %s: %w", agentConfig, err)
	}
	m.file(agentConfig, data, 0o644)
	for name, program := range map[string]string{supervisorProgram: payload.Supervise, agentProgram: payload.Agent} {
		data, err := payload.Program(program, machineArch)
		if err != nil {
			return err
		}
		m.file(name, data, 0o755)
	}
	return nil
}

// machineRoot adds to the image what makes a machine of it.
func (b *bake) machineRoot(ctx context.Context, m *made) (machineRoot, error) {
	r := machineRoot{image: m.image, init: initSupervisor}
	systemd, err := b.hasSystemd(ctx, m.state)
	if err != nil {
		return r, err
	}
	var files []file
	if systemd {
		r.init = initSystemd
		if err := b.needsUdev(ctx, m.state); err != nil {
			return r, err
		}
		files, err = b.systemdFiles(m.image)
		r.cmdline = []string{commandWord("init", systemdProgram)}
	} else {
		r.cmdline = []string{commandWord("init", agentProgram)}
		files, err = b.agentFiles(m.image)
	}
	if err != nil {
		return r, err
	}
	layer, err := b.machineLayer(ctx, files)
	if err != nil {
		return r, err
	}
	r.image.Layers = append(r.image.Layers[:len(r.image.Layers):len(r.image.Layers)], layer)
	return r, nil
}

// agentFiles are those of a machine whose first program is ours.
func (b *bake) agentFiles(img images.Image) ([]file, error) {
	services := supervisorConfig
	var m madeFiles
	if !b.recipe.Supervised() {
		services = agentServices
		c, err := b.oneService(img)
		if err != nil {
			return nil, err
		}
		data, err := c.Encode()
		if err != nil {
			return nil, err
		}
		m.file(services, data, 0o644)
	}
	config := b.machineConfig(img)
	config.Supervise = []string{supervisorProgram, services}
	if err := m.agent(config); err != nil {
		return nil, err
	}
	return m.list, nil
}

// oneService runs the image's command as the service main, with which the machine ends.
func (b *bake) oneService(img images.Image) (supervisor.Config, error) {
	c := img.Config.Config
	if len(img.Command()) == 0 {
		return supervisor.Config{}, fault.New(fault.Invalid, "the image has no command: a machine would have nothing to run").
			WithHint("give the recipe services: or entrypoint:")
	}
	s := supervisor.Service{Name: "main", Cmd: img.Command(), Restart: supervisor.Never, Dir: c.WorkingDir,
		Stop: supervisor.Stop{Signal: cmp.Or(strings.TrimPrefix(c.StopSignal, "SIG"), "TERM"), Grace: supervisor.Duration(stopGrace)}}
	s.User = userOf(img)
	for _, service := range b.recipe.Services { // the only one
		s.Name, s.Stop = service.Name, supervisor.Stop{Signal: service.Signal, Grace: supervisor.Duration(service.Grace)}
	}
	return supervisor.Config{Services: []supervisor.Service{s}}, nil
}

// userOf is who runs the image's command; "" is root.
func userOf(img images.Image) string {
	if user := img.Config.Config.User; !isRoot(user) {
		return user
	}
	return ""
}

// hostname is the image's name as a host may have it.
func (b *bake) hostname() string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r == '.' || r == '_' {
			return '-'
		}
		return r
	}, b.recipe.Name), "-")
	return cmp.Or(name[:min(len(name), 63)], "machine")
}

// machineEnvironment is what services see: the image's own variables, a PATH, and $PORT.
func machineEnvironment(img images.Image) []string {
	env := img.Config.Config.Env
	env = env[:len(env):len(env)]
	if _, ok := lookup(env, "PATH"); !ok {
		env = append(env, "PATH="+defaultPath)
	}
	if ports := img.Ports(); len(ports) > 0 {
		if _, ok := lookup(env, "PORT"); !ok {
			env = append(env, "PORT="+strconv.Itoa(ports[0]))
		}
	}
	return env
}

// machineLayer writes root's files as a layer. It is read once, when the disk is made, and in no image.
func (b *bake) machineLayer(ctx context.Context, files []file) (images.Layer, error) {
	pieces := map[string]piece{}
	for _, f := range files {
		at := strings.TrimPrefix(path.Clean(f.rel), "/")
		pieces[at] = piece{open: f.open, Entry: images.Entry{Path: at, Type: f.kind, Mode: f.mode, Size: f.size, Link: f.link}}
	}
	w, err := writePieces(ctx, b.store, b.epoch, inOrder(pieces))
	if err != nil {
		return images.Layer{}, err
	}
	return w.Commit(machineStep)
}
