package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// FileName is the name that Find looks for.
const FileName = "release.yaml"

// file is a release.yaml as it is written.
type file struct {
	App
	Environments map[string]overlay `yaml:"environments" json:"-" doc:"Overlays by environment: the same images with other sizes and routes. production needs none."`
}

// overlay is what an environment may say otherwise. All keys within are optional, whatever they are in the app.
type overlay struct {
	Promote string          `yaml:"promote" doc:"Take the images that serve in this other environment, by release promote, and never bake for this one."`
	Fleet   *Fleet          `yaml:"fleet" doc:"The nodes that run a release."`
	Health  *Health         `yaml:"health" doc:"How it is proven that a node is well; another kind of check replaces the app's."`
	Route   *Route          `yaml:"route" doc:"The entry that users reach."`
	Roles   map[string]Role `yaml:"roles" doc:"What roles have otherwise here."`
	Cutover *Cutover        `yaml:"cutover" doc:"How traffic moves from one release to the next."`
	Hooks   *Hooks          `yaml:"hooks" doc:"Commands that the agent runs at points of an operation; those of one point replace the app's."`
	Jobs    map[string]Job  `yaml:"jobs" doc:"Commands that run in nodes of their own."`
	Require *Require        `yaml:"require" doc:"What an image must show before it runs."`
}

// overlayKeys are what an environment may say.
func overlayKeys() []string {
	return []string{promoteKey, "fleet", "health", "route", "roles", "cutover", "hooks", "jobs", "require"}
}

// promoteKey names the environment to take images from.
const promoteKey = "promote"

// Load reads a release.yaml, lays the environment's overlay over it and fills in the defaults; env "" is DefaultEnv. The
// error is a fault.List with all problems and their places, or fault.NotFound when there is no such file.
func Load(path, env string) (*App, error) {
	if env == "" {
		env = DefaultEnv
	}
	root, readErr := readFile(path)
	if root == nil {
		return nil, readErr
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read %s: %w", path, err)
	}
	overlays, errs := findOverlays(root)
	errs = append(errs, fault.All(readErr)...)
	if !slices.Contains(names(overlays), env) {
		errs = append(errs, unknownEnv(root, env, overlays))
	}
	errs = append(errs, checkPromotes(overlays)...)
	base := root.Without("environments")
	var chosen *App
	for _, o := range toCheck(overlays, env) {
		app, problems := resolve(base, o, abs)
		errs = append(errs, problems...)
		if o.name == env {
			chosen = app
		}
	}
	if err := strictyaml.Sort(errs).Err(); err != nil {
		return nil, err
	}
	return chosen, nil
}

// Environments lists the environments that a release.yaml knows, sorted, DefaultEnv included.
func Environments(path string) ([]string, error) {
	root, err := readFile(path)
	if err != nil {
		return nil, err
	}
	overlays, errs := findOverlays(root)
	return names(overlays), errs.Err()
}

// readFile gives the file as a mapping, with the errors that leave one to look at, or only the error.
func readFile(path string) (*strictyaml.Node, error) {
	root, err := strictyaml.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "read %s: %w", path, fs.ErrNotExist).
			WithHint("write one with: release init")
	}
	if root != nil && root.Kind != strictyaml.Map && err == nil {
		return nil, fault.List{strictyaml.WrongKind(root, "", "a mapping")}
	}
	return root, err
}

// named is an environment and the overlay that the file has for it, nil for none.
type named struct {
	name string
	node *strictyaml.Node
}

// findOverlays lists the environments of the file. Their keys are checked here, what they hold when it is merged.
func findOverlays(root *strictyaml.Node) ([]named, fault.List) {
	all := root.Get("environments")
	if all == nil {
		return nil, nil
	}
	if all.Kind != strictyaml.Map {
		return nil, fault.List{strictyaml.WrongKind(all, "environments", "a mapping")}
	}
	var overlays []named
	var errs fault.List
	for _, e := range all.Entries {
		path := "environments." + e.Key
		if !validName(e.Key) {
			errs = append(errs, e.KeyPos.Errorf("environment %q must be 1 to %d of a-z, 0-9 and -, beginning with a letter", e.Key, maxName))
		}
		if e.Value.Kind != strictyaml.Map && e.Value.Kind != strictyaml.Null {
			errs = append(errs, strictyaml.WrongKind(e.Value, path, "a mapping"))
			continue
		}
		valid := overlayKeys()
		kept := *e.Value
		kept.Entries = nil
		for _, key := range e.Value.Entries {
			if slices.Contains(valid, key.Key) {
				kept.Entries = append(kept.Entries, key)
				continue
			}
			errs = append(errs, strictyaml.UnknownName(key.KeyPos, "key", key.Key, "in "+path, valid))
		}
		overlays = append(overlays, named{e.Key, &kept})
	}
	return overlays, errs
}

func names(overlays []named) []string {
	list := []string{DefaultEnv}
	for _, o := range overlays {
		if o.name != DefaultEnv {
			list = append(list, o.name)
		}
	}
	slices.Sort(list)
	return list
}

func unknownEnv(root *strictyaml.Node, env string, overlays []named) *fault.Error {
	err := strictyaml.UnknownName(root.LocateKey("environments"), "environment", env, "", names(overlays))
	if root.Get("environments") == nil {
		return err.WithHint("the file has no environments; valid here: %s", DefaultEnv)
	}
	return err
}

// toCheck is all overlays, so that a mistake in another environment is found too, and the app alone when that is
// what was asked for or all there is.
func toCheck(overlays []named, env string) []named {
	plain := !slices.ContainsFunc(overlays, func(o named) bool { return o.name == DefaultEnv })
	if plain && (env == DefaultEnv || len(overlays) == 0) {
		return append([]named{{name: DefaultEnv}}, overlays...)
	}
	return overlays
}

// resolve makes the app of one environment.
func resolve(base *strictyaml.Node, o named, path string) (*App, fault.List) {
	root := base
	if o.node != nil && o.node.Kind == strictyaml.Map {
		root = mergeApp(base, o.node.Without(promoteKey))
	}
	app := &App{Env: o.name, path: path, root: root}
	if from := o.node.Get(promoteKey); from != nil {
		app.Promote = from.Text
	}
	strictyaml.Defaults(app)
	errs := strictyaml.Decode(root, app)
	portHint(root, errs)
	c := &checker{root: root}
	c.app(app)
	c.jobs(app.Jobs)
	c.hooks(app, filepath.Dir(path))
	c.require(&app.Require, filepath.Dir(path))
	app.resolvePaths(filepath.Dir(path))
	app.split()
	return app, inFull(o.node, "environments."+o.name+".", append(errs, c.errs...))
}

// mergeApp lays an overlay over the app. Another kind of health check takes the place of the one there is, in roles too.
func mergeApp(base, over *strictyaml.Node) *strictyaml.Node {
	merged := strictyaml.Merge(withoutOtherCheck(base, over), over)
	roles, over := base.Get("roles"), over.Get("roles")
	if roles == nil || over == nil || roles.Kind != strictyaml.Map || over.Kind != strictyaml.Map {
		return merged
	}
	roles = roles.Without()
	for i, e := range roles.Entries {
		roles.Entries[i].Value = withoutOtherCheck(e.Value, over.Get(e.Key))
	}
	roles = strictyaml.Merge(roles, over)
	for i, e := range merged.Entries {
		if e.Key == "roles" {
			merged.Entries[i].Value = roles
		}
	}
	return merged
}

// inFull gives errors about an overlay's own values the path that they have in the file: an overlay is merged into what it
// lies over before it is looked at, and there its values have the other's paths.
func inFull(over *strictyaml.Node, prefix string, errs fault.List) fault.List {
	own := map[[2]int]bool{}
	places(over, own)
	for _, e := range errs {
		if own[[2]int{e.Line, e.Column}] {
			e.Message = overlaid.ReplaceAllStringFunc(e.Message, once(prefix))
		}
	}
	return errs
}

// overlaid is the beginning of a path in a message, or something in quotes, which is passed over.
var overlaid = regexp.MustCompile(`"(\\.|[^"\\])*"|\b(roles|start|cmd|verdict|fleet|health|route|cutover|require)\b`)

// once puts the prefix before the first match that is not in quotes.
func once(prefix string) func(string) string {
	return func(match string) string {
		if strings.HasPrefix(match, `"`) {
			return match
		}
		match, prefix = prefix+match, ""
		return match
	}
}

// places collects where a node and all that is in it begins.
func places(n *strictyaml.Node, into map[[2]int]bool) {
	if n == nil {
		return
	}
	into[[2]int{n.Pos.Line, n.Pos.Column}] = true
	for _, i := range n.Items {
		places(i, into)
	}
	for _, e := range n.Entries {
		into[[2]int{e.KeyPos.Line, e.KeyPos.Column}] = true
		places(e.Value, into)
	}
}

// withoutOtherCheck takes the kind of health check out of the app when the overlay brings its own.
func withoutOtherCheck(base, over *strictyaml.Node) *strictyaml.Node {
	kinds := checkKinds()
	if !slices.ContainsFunc(kinds, func(k string) bool { return over.Get("health").Get(k) != nil }) {
		return base
	}
	others := slices.DeleteFunc(kinds, func(k string) bool { return over.Get("health").Get(k) != nil })
	merged := base.Without()
	for i, e := range merged.Entries {
		if e.Key == "health" {
			merged.Entries[i].Value = e.Value.Without(others...)
		}
	}
	return merged
}

func checkKinds() []string { return []string{"http", "tcp", "grpc", "exec"} }

// resolvePaths makes the paths of files absolute that processes with another working folder read.
func (a *App) resolvePaths(dir string) {
	a.Route.resolvePaths(dir)
	for _, role := range a.Roles {
		if role.Route != nil {
			role.Route.resolvePaths(dir)
		}
	}
}

func (r *Route) resolvePaths(dir string) {
	if t := r.TLS; t != nil {
		t.Cert, t.Key, t.ClientCA = absolute(dir, t.Cert), absolute(dir, t.Key), absolute(dir, t.ClientCA)
		if t.ACME != nil {
			t.ACME.RootCA = absolute(dir, t.ACME.RootCA)
		}
	}
}

func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Find searches a release.yaml in start and the folders above it, and gives its path, relative if start is;
// fault.NotFound if there is none.
func Find(start string) (string, error) {
	dir := start
	for {
		path := filepath.Join(dir, FileName)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
		here, err := os.Stat(dir)
		if err != nil {
			return "", fault.New(fault.NotFound, "find %s: %w", FileName, err)
		}
		up := filepath.Join(dir, "..")
		above, err := os.Stat(up)
		if err != nil || os.SameFile(here, above) {
			return "", fault.New(fault.NotFound, "no %s in %s or any folder above it", FileName, start).
				WithHint("write one with: release init")
		}
		dir = up
	}
}
