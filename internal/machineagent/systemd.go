package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/instance"
	"github.com/bootandshoot/release/internal/machinechannel"
)

// channel speaks with whoever runs the machine where systemd is its first program. It returns when it is told to end and has passed on
// what the services said last, at once where nobody listens.
func channel(c config) error {
	if portOf(machinechannel.ControlPort) == "" {
		return nil
	}
	s, err := readSettings(networkIsUp)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM)
	children := &children{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	said := make(chan struct{}) // closed when the journal is passed on whole
	if log := openLog(s); log == nil {
		close(said)
	} else {
		j := &journal{children: children, units: c.Units, out: &output{console: io.Discard, log: log, now: time.Now}}
		go func() { defer close(said); j.follow(ctx) }()
	}
	g := guest{children: children, env: environment(c, s), dir: c.Dir, user: c.User, stop: func(n syscall.Signal) error { return shutDown(children, c.Units, n) }}
	go g.serve()
	var end chan struct{}
	for {
		select {
		case n := <-signals:
			if n == unix.SIGTERM {
				cancel()
				end = said
			}
			children.reap()
		case <-end:
			return nil
		}
	}
}

// openLog opens the line for output; nil: there is none, or a command that is run instead of the services has it.
func openLog(s instance.Settings) *os.File {
	if len(s.Command) > 0 {
		return nil
	}
	return openPort(machinechannel.LogPort, os.O_WRONLY)
}

// onlyCommand runs what the settings name instead of services, under systemd.
func onlyCommand(c config) error {
	s, err := readSettings(networkIsUp)
	if err != nil {
		return err
	}
	if len(s.Command) == 0 {
		return errors.New("the settings of this machine name no command")
	}
	return run(c, s.Command, environment(c, s), false)
}

// networkIsUp is for who starts behind it.
func networkIsUp() bool { return true }

const (
	// runtimeUnits has units that are gone with the machine (systemd.unit(5)).
	runtimeUnits = "/run/systemd/system"
	// commandUnit runs onlyCommand.
	commandUnit = "release-command.service"
)

// shutDown stops the services by a signal, and then the machine. systemd knows the order, and each service's own patience.
func shutDown(c *children, units []string, n syscall.Signal) error {
	for _, unit := range append(units[:len(units):len(units)], commandUnit) {
		dir := filepath.Join(runtimeUnits, unit+".d")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		text := fmt.Sprintf("[Service]\nKillSignal=%d\n", int(n))
		if err := os.WriteFile(filepath.Join(dir, "stop.conf"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := systemctl(c, "daemon-reload"); err != nil {
		return err
	}
	if n == syscall.SIGKILL { // a service that is being stopped already has heard another one
		_ = systemctl(c, append([]string{"kill", "--signal=KILL", "--"}, units...)...) // an error says that one of them has ended
	}
	return systemctl(c, "--no-block", "poweroff")
}

func systemctl(c *children, args ...string) error {
	path, err := exec.LookPath("systemctl")
	if err != nil {
		return err
	}
	_, ended, err := c.start(append([]string{path}, args...), &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return err
	}
	if status := <-ended; status != 0 {
		return fmt.Errorf("systemctl %s: %s", strings.Join(args, " "), describe(status))
	}
	return nil
}

// networkState is what systemd-networkd says of all cards.
const networkState = "/run/systemd/netif/state"

// nameServers writes those that networkd was told of, where nothing in the image does.
func nameServers() error {
	data, err := os.ReadFile(networkState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l := serversOf(string(data))
	if len(l.servers) == 0 {
		return nil
	}
	return writeResolver(l)
}

// serversOf reads KEY=value lines.
func serversOf(state string) (l lease) {
	for line := range strings.Lines(state) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "DNS="); ok {
			for _, text := range strings.Fields(list) {
				if server, err := netip.ParseAddr(text); err == nil {
					l.servers = append(l.servers, server)
				}
			}
		}
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "DOMAINS="); ok {
			l.domain = list
		}
	}
	return l
}
