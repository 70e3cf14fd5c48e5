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
// The console then says that the services start. `machine-agent settings` does the second step alone; the environment then is the file /run/release/environment.
// `machine-agent ready` says on the console that the services start.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/bootandshoot/release/internal/instance"
)

// configFile is the machine's own file, written by the bake.
const configFile = "/usr/lib/release/machine.json"

// config is what the bake says of the machine.
type config struct {
	Hostname  string   `json:"hostname"`
	Env       []string `json:"env"`       // of the image, $PORT included
	Supervise []string `json:"supervise"` // the supervisor's command
	Dir       string   `json:"dir"`       // that it begins in
	User      string   `json:"user"`      // of a command that is run instead; "" is root
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "settings" {
		if err := onlySettings(); err != nil {
			fmt.Fprintln(os.Stderr, "machine-agent:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "ready" {
		if err := tellConsole(servicesStart); err != nil {
			fmt.Fprintln(os.Stderr, "machine-agent:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "machine-agent: this is the first program of a machine; `machine-agent settings` is for its init system")
		os.Exit(2)
	}
	if err := live(); err != nil {
		say("this machine does not start: " + err.Error())
	}
	powerOff()
}

// live returns when the services have ended.
func live() error {
	data, err := os.ReadFile(configFile)
	if err != nil {
		return err
	}
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("read %s: %w", configFile, err)
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
	return run(c, s.Command, environment(c, s))
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
