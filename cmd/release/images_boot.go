package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/instance"
	"github.com/bootandshoot/release/machine"
)

// bootOptions is how a machine is booted for a person.
type bootOptions struct {
	ports    []string
	env      []string
	memory   string
	cpus     int
	firmware bool
}

// bootResult is the result of images boot.
type bootResult struct {
	api.Head
	Image       string `json:"image"`
	Accelerator string `json:"accelerator"`
	Ended       string `json:"ended"` // off, reset or killed
}

// bootEvent tells how a machine that was started is reached.
type bootEvent struct {
	Type        string     `json:"type"` // machine
	PID         int        `json:"pid"`
	Accelerator string     `json:"accelerator"`
	Ports       []bootPort `json:"ports"`
}

type bootPort struct {
	Address string `json:"address"` // on this machine
	Port    int    `json:"port"`    // of the image
}

// bootGrace is how long a machine that was asked to power off may take.
const bootGrace = 30 * time.Second

func (c *cli) imagesBoot() *cobra.Command {
	var o bootOptions
	cmd := &cobra.Command{
		Use: "boot IMAGE", Short: "Boot an image as a machine, with its console",
		Long: `Boots the machine form of an image in QEMU and shows its console until it ends. What it writes is thrown away. Its ports are
forwarded to this machine's loopback. Ctrl-C presses the power button; a machine that does not power off then is ended after 30 s,
or by another Ctrl-C. Without KVM the machine is emulated, which is several times slower.`,
		Example: "  release images boot shop\n  release images boot shop --port 8080:80 --firmware\n  release images boot r8 --memory 1GiB --env LOG=debug",
		Args:    between(1, 1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			return c.bootImage(cmd.Context(), store, digest, o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.ports, "port", "p", nil, "forward `[HOST:]PORT` of the machine (default: all that the image declares)")
	f.StringArrayVar(&o.env, "env", nil, "`NAME=VALUE` of the services' environment")
	f.StringVar(&o.memory, "memory", "512MiB", "`size` of the machine's memory")
	f.IntVar(&o.cpus, "cpus", 1, "processors of the machine")
	f.BoolVar(&o.firmware, "firmware", false, "boot by UEFI, as other machines do, and not the kernel directly")
	return cmd
}

func (c *cli) bootImage(ctx context.Context, store *images.Store, d images.Digest, o bootOptions) error {
	release, err := store.Hold(ctx) // or a collection might take the disk away meanwhile
	if err != nil {
		return err
	}
	defer release()
	m, err := store.CheckMachine(ctx, d)
	if err != nil {
		return err
	}
	img, err := store.Get(d)
	if err != nil {
		return err
	}
	spec, err := o.spec(store, m, img)
	if err != nil {
		return err
	}
	why := ""
	if spec.Accelerator, why, err = machine.Accelerate(ctx); err != nil {
		return err
	}
	if why != "" {
		c.out.note("%s no KVM, the machine is emulated: %s", c.out.yellow("note:"), why)
	}
	if spec.Dir, err = os.MkdirTemp("", "release-boot-*"); err != nil {
		return fmt.Errorf("boot image %s: %w", d.Short(), err)
	}
	defer os.RemoveAll(spec.Dir)
	exit, err := c.attendMachine(ctx, spec)
	if err != nil {
		return ended(ctx, err)
	}
	r := bootResult{Head: api.NewHead(nil), Image: string(d), Accelerator: string(spec.Accelerator), Ended: string(exit.How)}
	if exit.How == machine.Reset {
		err = fault.New(fault.Failed, "the machine of image %s ended by itself: its kernel panicked, or it restarted", d.Short()).WithHint("its console says why")
		r.Head = api.NewHead(err)
	}
	return errors.Join(c.out.result(r, nil), err)
}

// spec is the machine that was asked for.
func (o bootOptions) spec(store *images.Store, m images.Machine, img images.Image) (machine.Spec, error) {
	spec, err := builder.MachineSpec(store, m, o.firmware)
	if err != nil {
		return spec, err
	}
	if spec.Forwards, err = o.forwards(img.Ports()); err != nil {
		return spec, err
	}
	spec.CPUs = o.cpus
	var memory config.Bytes
	if err := memory.UnmarshalText([]byte(o.memory)); err != nil {
		return spec, fault.New(fault.Invalid, "read --memory: %w", err)
	}
	spec.Memory = int64(memory)
	set := instance.Settings{Environment: map[string]string{}}
	for _, kv := range o.env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok {
			return spec, fault.New(fault.Invalid, "read --env: %q is not NAME=VALUE", kv)
		}
		set.Environment[name] = value
	}
	data, err := set.Encode()
	if err != nil {
		return spec, fault.New(fault.Invalid, "read --env: %w", err)
	}
	spec.Settings = []machine.Setting{{Name: instance.SettingName, Data: data}}
	return spec, nil
}

// forwards gives each port of the machine one of this machine's.
func (o bootOptions) forwards(declared []int) ([]machine.Forward, error) {
	list := o.ports
	if len(list) == 0 {
		for _, p := range declared {
			list = append(list, strconv.Itoa(p))
		}
	}
	var all []machine.Forward
	for _, text := range list {
		host, guest, both := strings.Cut(text, ":")
		if !both {
			host, guest = "0", text
		}
		h, err1 := strconv.Atoi(host)
		g, err2 := strconv.Atoi(guest)
		if err1 != nil || err2 != nil || g < 1 || g > 65535 || h < 0 || h > 65535 {
			return nil, fault.New(fault.Invalid, "read --port: %q is not PORT or HOST:PORT", text)
		}
		if h == 0 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, fmt.Errorf("find a free port: %w", err)
			}
			h = l.Addr().(*net.TCPAddr).Port
			if err := l.Close(); err != nil {
				return nil, fmt.Errorf("find a free port: %w", err)
			}
		}
		all = append(all, machine.Forward{Host: h, Guest: g})
	}
	return all, nil
}

// attendMachine runs the machine until it has ended, and shows its console.
func (c *cli) attendMachine(ctx context.Context, spec machine.Spec) (machine.Exit, error) {
	m, err := machine.Start(ctx, spec)
	if err != nil {
		return machine.Exit{}, err
	}
	defer func() { _ = m.Kill(context.WithoutCancel(ctx)) }()
	if err := c.tellBooted(m, spec); err != nil {
		return machine.Exit{}, err
	}
	console := io.Writer(c.out.stdout)
	if c.out.json {
		console = c.out.stderr
	}
	over := make(chan struct{})
	shown := make(chan error, 1)
	go func() { shown <- follow(m.Console(), console, over) }()
	exit, err := m.Wait(ctx)
	if ctx.Err() != nil {
		c.out.note("%s powering off; Ctrl-C again ends it at once", c.out.dim("·"))
		again, stop := interruptible(context.WithoutCancel(ctx))
		defer stop()
		if err = m.Stop(again, bootGrace); again.Err() != nil {
			err = m.Kill(context.WithoutCancel(ctx))
		}
		if err == nil {
			exit, err = m.Wait(context.WithoutCancel(ctx))
		}
	}
	close(over)
	return exit, errors.Join(err, <-shown)
}

func (c *cli) tellBooted(m *machine.Machine, spec machine.Spec) error {
	e := bootEvent{Type: "machine", PID: m.PID, Accelerator: string(spec.Accelerator), Ports: []bootPort{}}
	for _, f := range spec.Forwards {
		e.Ports = append(e.Ports, bootPort{Address: fmt.Sprintf("127.0.0.1:%d", f.Host), Port: f.Guest})
		c.out.note("%s port %d is at 127.0.0.1:%d", c.out.dim("·"), f.Guest, f.Host)
	}
	if c.out.json {
		return c.out.event(e)
	}
	return nil
}

// followEvery is how often a growing file is looked at: QEMU tells nobody.
const followEvery = 50 * time.Millisecond

// follow copies a growing file until it is over, whole.
func follow(name string, to io.Writer, over <-chan struct{}) error {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		select {
		case <-over:
			_, err := io.Copy(to, f)
			return err
		case <-time.After(followEvery):
		}
		if _, err := io.Copy(to, f); err != nil {
			return err
		}
	}
}
