package recipes

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// service adds one service. A service of an included file with the same name is replaced.
func (l *loader) service(e strictyaml.Entry, s serviceSpec) {
	if !validName(e.Key) {
		l.fail(e.KeyPos, "service %q must be 1 to 63 of a-z, 0-9, dot, - and _, beginning and ending with a letter or digit", e.Key)
	}
	if cmd := e.Value.Get("cmd"); cmd != nil && cmd.Kind == strictyaml.List && (len(s.Cmd) == 0 || s.Cmd[0] == "" && cmd.Items[0].Kind == strictyaml.Text) {
		l.fail(cmd.Pos, "services.%s.cmd must begin with a program", e.Key)
	}
	where := "services." + e.Key
	l.envNames(e.Value, s.Env, where+".env")
	if s.User != "" {
		l.user(e.Value.Locate("user"), where+".user", s.User)
	}
	made := Service{
		Name: e.Key, Cmd: s.Cmd, Restart: Restart(cmp.Or(s.Restart, string(RestartNo))), User: s.User, Env: s.Env, After: s.After,
		Signal: cmp.Or(s.Stop.Signal, defaultSignal), Grace: s.Stop.Grace.or(defaultGrace), Pos: e.KeyPos,
	}
	if s.Dir != "" {
		made.Workdir = l.target(e.Value.Locate("dir"), where+".dir", s.Dir)
	}
	l.recipe.Services = merged(l.recipe.Services, map[string]Service{e.Key: made})
}

// wholeServices checks the order of services.
func (l *loader) wholeServices() {
	all := l.recipe.Services
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		for _, before := range s.After {
			if _, ok := all[before]; !ok && before != "" { // which was no text
				l.fail(s.Pos, "services.%s.after names %q, which is no service", name, before).
					WithHint("there are: %s", strings.Join(slices.Sorted(maps.Keys(all)), ", "))
			}
		}
		if cycle := l.after(name, nil); cycle != nil && slices.Min(cycle) == name {
			l.fail(s.Pos, "services wait for each other: %s", strings.Join(append(cycle, name), " after "))
		}
	}
}

// after gives the services on a cycle through the first of the path; nil when there is none.
func (l *loader) after(name string, path []string) []string {
	if len(path) > 0 && name == path[0] {
		return path
	}
	if slices.Contains(path, name) {
		return nil
	}
	for _, before := range l.recipe.Services[name].After {
		if cycle := l.after(before, append(slices.Clone(path), name)); cycle != nil {
			return cycle
		}
	}
	return nil
}

// Order lists the services as they are started: each after those that it names, else by name.
func (r *Recipe) Order() []Service {
	var list []Service
	done := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		s, ok := r.Services[name]
		if done[name] || !ok {
			return
		}
		done[name] = true
		for _, before := range slices.Sorted(slices.Values(s.After)) {
			add(before)
		}
		list = append(list, s)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Services)) {
		add(name)
	}
	return list
}

// defaultWithin is how long a test is tried.
const defaultWithin = 30 * time.Second
