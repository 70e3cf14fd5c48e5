package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

// systemDir is where root keeps everything.
const systemDir = "/var/lib/release"

// stateDir is the folder of everything the agent keeps, absolute.
func (c *cli) stateDir() (string, error) {
	return c.folder("RELEASE_STATE_DIR", systemDir, "XDG_STATE_HOME", ".local/state")
}

// imagesDir is the folder of the image store, absolute.
func (c *cli) imagesDir(settings *config.Agent) (string, error) {
	if c.getenv("RELEASE_IMAGES_DIR") == "" && settings.Images != "" {
		return filepath.Abs(settings.Images)
	}
	return c.folder("RELEASE_IMAGES_DIR", filepath.Join(systemDir, "images"), "XDG_DATA_HOME", ".local/share", "images")
}

// folder is what the variable names, else root's place, else the user's: the XDG variable or its default below home,
// with release and the rest added.
func (c *cli) folder(variable, root, xdg, home string, rest ...string) (string, error) {
	if dir := c.getenv(variable); dir != "" {
		return filepath.Abs(dir)
	}
	if sandbox.HostUID() == 0 {
		return root, nil
	}
	base := c.getenv(xdg)
	if !filepath.IsAbs(base) {
		if c.getenv("HOME") == "" {
			return "", fault.New(fault.Failed, "find the folder for our files: HOME is not set").WithHint("set %s", variable)
		}
		base = filepath.Join(c.getenv("HOME"), home)
	}
	return filepath.Join(append([]string{base, "release"}, rest...)...), nil
}

// socket is the agent's socket, and whether the user named it.
func (c *cli) socket() (path string, named bool, err error) {
	if c.flags.agent != "" {
		path, err = filepath.Abs(c.flags.agent)
		return path, true, err
	}
	dir, err := c.stateDir()
	return filepath.Join(dir, api.SocketName), false, err
}

// settings reads the machine's agent.yaml: the one named, else the user's or the system's; without one the defaults.
func (c *cli) settings(path string) (*config.Agent, error) {
	if path == "" {
		path = config.FindAgent()
	}
	return config.LoadAgent(path)
}

// app reads the app's file with the environment's overlay.
func (c *cli) app() (*config.App, error) {
	path := c.flags.config
	if path == "" {
		found, err := config.Find(".")
		if err != nil {
			return nil, usage(err)
		}
		path = relative(found)
	}
	app, err := config.Load(path, c.flags.env)
	return app, usage(err)
}

// usage makes a file that is not there a mistake of who named it: nothing was done, and the exit code says so.
func usage(err error) error {
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	missing := *fault.All(err)[0]
	missing.Code = fault.Invalid
	return &missing
}

// appOf is the app on the wire.
func appOf(a *config.App) api.App { return api.App{App: a.App, Env: a.Env} }

// relative shortens a path below the working folder, for messages.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// who is the caller, for the journal: "ann@laptop".
func (c *cli) who() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	name := c.getenv("USER")
	if u, err := user.LookupId(strconv.Itoa(sandbox.HostUID())); err == nil {
		name = u.Username
	}
	if sudo := c.getenv("SUDO_USER"); sudo != "" {
		name = sudo
	}
	return name + "@" + host
}

// userOf names the user that this process sees under an id, and says whether that is the machine's root.
func userOf(uid int) (name string, root bool) {
	id := sandbox.HostIDOf(uid)
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username, id == 0
	}
	return fmt.Sprintf("uid %d", id), id == 0
}
