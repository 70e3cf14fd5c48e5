// Command machine-agent is the first program of a machine whose image has no init of its own, and the one that reads a machine's
// settings where it has (systemd). It lies in /usr/lib/release of the machine's root, beside its file machine.json.
//
// As process 1, in this order:
//
//  1. The file systems that programs expect: /run, /tmp, /dev/pts, /dev/shm, the control groups.
//  2. The settings of this machine (package instance), from QEMU's fw_cfg or EC2's user data: host name, files, access keys, environment.
//  3. The network: loopback, and DHCP on the first card. A machine without a card, or whose network does not answer in time, goes on.
//  4. The supervisor with the services of the image, or with a command that the settings name instead. Their output goes to the console,
//     and as package machinechannel says to whoever runs the machine, who may run commands beside them. When it ends, or the power
//     button is pressed and it has stopped, the machine powers off: it is replaced, never restarted in place.
//
// The console then says that the services start.
//
// Under systemd the same is done in parts, by units of the bake:
//
//	machine-agent settings   the second step; the environment is the file /run/release/environment, and where there is the file
//	                         /run/release/command a command is run instead of the services
//	machine-agent ready      name servers, where nothing else writes them, and the word on the console
//	machine-agent channel    the services' output, from the journal, and commands beside them
//	machine-agent command    the command that is run instead of the services, and how it ended
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/bootandshoot/release/internal/instance"
)

// configFile is the machine's own file, written by the bake.
const configFile = "/usr/lib/release/machine.json"

// config is what the bake says of the machine.
type config struct {
	Hostname  string   `json:"hostname"`
	Env       []string `json:"env"`       // of the image, $PORT included
	Supervise []string `json:"supervise"` // the supervisor's command; under systemd without its file
	Units     []string `json:"units"`     // of the services, under systemd
	Dir       string   `json:"dir"`       // that it begins in
	User      string   `json:"user"`      // of a command that is run instead; "" is root
}

func main() {
	if os.Getpid() != 1 {
		os.Exit(forInit(os.Args[1:]))
	}
	if err := live(); err != nil {
		say("this machine does not start: " + err.Error())
	}
	powerOff()
}

// forInit does one part of the work for systemd, and gives the exit code.
func forInit(args []string) int {
	c, err := readConfig()
	switch {
	case err != nil:
	case slices.Equal(args, []string{"settings"}):
		err = onlySettings()
	case slices.Equal(args, []string{"channel"}):
		err = channel(c)
	case slices.Equal(args, []string{"command"}):
		err = onlyCommand(c)
	case slices.Equal(args, []string{"ready"}):
		err = errors.Join(nameServers(), tellConsole(servicesStart))
	default:
		fmt.Fprintln(os.Stderr, "machine-agent: this is the first program of a machine; settings, ready, channel and command are for its init system")
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "machine-agent:", err)
		return 1
	}
	return 0
}

func readConfig() (c config, err error) {
	data, err := os.ReadFile(configFile)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("read %s: %w", configFile, err)
	}
	return c, nil
}

// live returns when the services have ended.
func live() error {
	c, err := readConfig()
	if err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	up := sync.OnceValue(network)
	s, err := readSettings(up)
	if err != nil {
		return err
	}
	if err := apply(s, c.Hostname); err != nil {
		return err
	}
	if up() {
		say(servicesStart)
	} else {
		say(servicesAlone)
	}
	return run(c, s.Command, environment(c, s), true)
}

// environment is the image's with the machine's own over it.
func environment(c config, s instance.Settings) []string {
	own := map[string]string{"HOSTNAME": hostnameOf(s, c.Hostname)}
	for name, value := range s.Environment {
		own[name] = value
	}
	return overlay(c.Env, own)
}

// servicesAlone is what the console says instead of servicesStart where the network is not there.
const servicesAlone = "the services begin without a network"

// servicesStart is what the console says when the network is there and the services begin: who boots an image for its test waits for it.
const servicesStart = "the services start"

// tellConsole is say for one that is not the first program.
func tellConsole(text string) error {
	f, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("machine-agent: " + text + "\n")
	return errors.Join(err, f.Close())
}

// say writes a line to the console.
func say(text string) { _, _ = os.Stderr.WriteString("machine-agent: " + text + "\n") }
