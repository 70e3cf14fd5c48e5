package main

import (
	"errors"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/bootandshoot/release/builder/secrets"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/sandbox"
)

// openHooks is what runs hooks, as the user that the settings name.
func (a *agent) openHooks() (*hook.Runner, error) {
	opts := hook.Options{Dir: filepath.Join(a.dir, "hooks")}
	if name := a.settings.Hooks.User; name != "" {
		who, err := hookUser(name)
		if err != nil {
			return nil, err
		}
		opts.User = who
	}
	return hook.New(opts)
}

// hookUser looks a user up; nil for the agent's own.
func hookUser(name string) (*hook.User, error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nil, fault.New(fault.Invalid, "hooks.user in agent.yaml: this machine has no user %q", name)
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "look up user %s of hooks: %w", name, err)
	}
	if u.Uid == strconv.Itoa(sandbox.HostUID()) {
		return nil, nil //nolint:nilnil // the agent's own user
	}
	if sandbox.HostUID() != 0 {
		return nil, fault.New(fault.Invalid, "hooks.user in agent.yaml is %s: only an agent that runs as root can run hooks as another user", name).
			WithHint("leave hooks.user out, or run the agent as root")
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fault.New(fault.Failed, "look up the groups of user %s of hooks: %w", name, err)
	}
	who := &hook.User{Name: u.Username, Home: u.HomeDir}
	for _, id := range groups {
		who.Groups = append(who.Groups, number(id))
	}
	who.UID, who.GID = number(u.Uid), number(u.Gid)
	return who, nil
}

// number is an id as the user database writes it.
func number(id string) uint32 {
	n, _ := strconv.ParseUint(id, 10, 32) // on Linux they are numbers
	return uint32(n)
}

// hides makes what hides values in a line of text.
func hides(values map[string]string) func(string) string {
	named := map[string][]byte{}
	for name, value := range values {
		named[name] = []byte(value)
	}
	return secrets.NewValues(named).Mask
}
