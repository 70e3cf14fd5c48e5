package config

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// Hooks are commands that the agent runs at points of an operation, in order.
type Hooks struct {
	BeforeLaunch  []Hook `yaml:"before_launch,omitempty" json:"before_launch,omitempty" doc:"Before the image is brought to the hosts and the first node boots."`
	AfterLaunch   []Hook `yaml:"after_launch,omitempty" json:"after_launch,omitempty" doc:"When all nodes of the new fleet are healthy; it has no traffic yet."`
	BeforeCutover []Hook `yaml:"before_cutover,omitempty" json:"before_cutover,omitempty" doc:"Before the first step of a cutover."`
	AfterCutover  []Hook `yaml:"after_cutover,omitempty" json:"after_cutover,omitempty" doc:"When the release has all the traffic and the last hold is over; the old fleet is still there."`
	BeforeStep    []Hook `yaml:"before_step,omitempty" json:"before_step,omitempty" doc:"Before each step of a cutover."`
	AfterStep     []Hook `yaml:"after_step,omitempty" json:"after_step,omitempty" doc:"After each step of a cutover, when its hold is over."`
	BeforeShoot   []Hook `yaml:"before_shoot,omitempty" json:"before_shoot,omitempty" doc:"Before a fleet is shot: it has no requests any more."`
	AfterShoot    []Hook `yaml:"after_shoot,omitempty" json:"after_shoot,omitempty" doc:"When a fleet is shot."`
	OnAbort       []Hook `yaml:"on_abort,omitempty" json:"on_abort,omitempty" doc:"When an operation was aborted and users are back where they were."`
}

// Hook is one command. In the file it may be the command alone.
type Hook struct {
	Cmd          Command           `yaml:"cmd,required,flow" json:"cmd" doc:"Text for /bin/sh -c, or a program and its arguments as a list; run by the agent in a folder with the hook's files."`
	Timeout      Duration          `yaml:"timeout" json:"timeout" doc:"A command that takes longer is killed with all that it started, and has failed." default:"1m"`
	AllowFailure bool              `yaml:"allow_failure,omitempty" json:"allow_failure,omitempty" doc:"Go on when the command fails." default:"false"`
	Files        []string          `yaml:"files,omitempty,flow" json:"files,omitempty" doc:"Files and folders that the command needs, relative to this file; they are kept with the release. Words of the command that begin with ./ and name a file need not be listed."`
	Secrets      map[string]string `yaml:"secrets,omitempty" json:"secrets,omitempty" doc:"Environment variables of the command whose values the agent reads at each run: file:/path or env:NAME." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
}

// hookKeys is the form with keys.
type hookKeys Hook

// UnmarshalNode takes both forms.
func (h *Hook) UnmarshalNode(n *strictyaml.Node, path string) error {
	return commandOrKeys(n, path, &h.Cmd, (*hookKeys)(h))
}

// JSONSchema of both forms.
func (*Hook) JSONSchema() *jsonschema.Schema { return commandOr[hookKeys]() }

// commandOrKeys takes a command alone, or a mapping whose keys are those of keys, a pointer to a struct that cmd is in.
func commandOrKeys(n *strictyaml.Node, path string, cmd *Command, keys any) error {
	if n.Kind == strictyaml.Map {
		return strictyaml.DecodeAt(n, keys, path).Err()
	}
	return cmd.UnmarshalNode(n, path)
}

// commandOr is the schema of a command alone, or of a mapping with the keys of Keys.
func commandOr[Keys any]() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{jsonschema.For[Command](), jsonschema.For[Keys]()}}
}

// Point is where in an operation hooks are run.
type Point string

// The points, by the keys of hooks.
const (
	BeforeLaunch  Point = "before_launch"
	AfterLaunch   Point = "after_launch"
	BeforeCutover Point = "before_cutover"
	AfterCutover  Point = "after_cutover"
	BeforeStep    Point = "before_step"
	AfterStep     Point = "after_step"
	BeforeShoot   Point = "before_shoot"
	AfterShoot    Point = "after_shoot"
	OnAbort       Point = "on_abort"
)

// Points are all points, in the order in which an operation comes to them.
func Points() []Point {
	return []Point{BeforeLaunch, AfterLaunch, BeforeCutover, BeforeStep, AfterStep, AfterCutover, BeforeShoot, AfterShoot, OnAbort}
}

// At are the hooks of a point, in order.
func (h *Hooks) At(p Point) []Hook {
	switch p {
	case BeforeLaunch:
		return h.BeforeLaunch
	case AfterLaunch:
		return h.AfterLaunch
	case BeforeCutover:
		return h.BeforeCutover
	case AfterCutover:
		return h.AfterCutover
	case BeforeStep:
		return h.BeforeStep
	case AfterStep:
		return h.AfterStep
	case BeforeShoot:
		return h.BeforeShoot
	case AfterShoot:
		return h.AfterShoot
	case OnAbort:
		return h.OnAbort
	}
	return nil
}

// String is the hook for people: its command.
func (h Hook) String() string { return h.Cmd.String() }

// String is the command for people: the shell's text, or the words of a list.
func (c Command) String() string {
	if text, ok := c.shell(); ok {
		return text
	}
	return strings.Join(c, " ")
}

// shell is the text of a command that is one for /bin/sh.
func (c Command) shell() (string, bool) {
	if len(c) == 3 && c[0] == "/bin/sh" && c[1] == "-c" {
		return c[2], true
	}
	return "", false
}

// words are those of the command that could name a file of the app, as far as that can be told without a shell.
func (c Command) words() []string {
	text, ok := c.shell()
	if !ok {
		return c
	}
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n;|&()<>\"'", r) })
}

// What the files of an app's hooks may be together; they are kept in the agent's store.
const (
	maxHookFile  = 256 << 10
	maxHookFiles = 100
	maxHookBytes = 2 << 20
)

// HookFiles are the files that the app's hooks and the commands of abort_on need, as slash paths relative to Dir, sorted.
func (a *App) HookFiles() ([]string, error) {
	var files []string
	for _, p := range Points() {
		for _, h := range a.Hooks.At(p) {
			found, err := h.files(a.Dir())
			if err != nil {
				return nil, err
			}
			files = append(files, found...)
		}
	}
	for _, h := range a.Cutover.judges() {
		found, err := h.files(a.Dir())
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// Dir is the folder of the file that the app was loaded from; "" for an app that came as JSON.
func (a *App) Dir() string {
	if a.path == "" {
		return ""
	}
	return filepath.Dir(a.path)
}

// files are those that one hook needs.
func (h *Hook) files(dir string) ([]string, error) {
	names := slices.Clone(h.Files)
	for i, word := range h.Cmd.words() {
		if strings.HasPrefix(word, "./") && !strings.ContainsAny(word, "$*?[`{~") {
			if _, err := os.Stat(filepath.Join(dir, word)); err == nil || i == 0 {
				names = append(names, word)
			}
		}
	}
	var files []string
	for _, name := range names {
		found, err := filesAt(dir, name)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	return files, nil
}

// filesAt is a file, or all files of a folder.
func filesAt(dir, name string) ([]string, error) {
	clean := path.Clean(filepath.ToSlash(name))
	if !filepath.IsLocal(clean) {
		return nil, fault.New(fault.Invalid, "%q does not lie below the folder of this file", name).
			WithHint("what is on the agent's machine anyway is named by its absolute path, and not kept with the release")
	}
	var files []string
	err := filepath.WalkDir(filepath.Join(dir, clean), func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(at)
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fault.New(fault.Invalid, "%s is not a regular file", at)
		case info.Size() > maxHookFile:
			return fault.New(fault.Invalid, "%s has %s, and a file of a hook may have %s", at, human.Size(info.Size()), Bytes(maxHookFile)).
				WithHint("a large program belongs on the agent's machine, or into an image: release run")
		}
		rel, err := filepath.Rel(dir, at)
		files = append(files, filepath.ToSlash(rel))
		return err
	})
	return files, err
}

// hooks checks the hooks, the commands that judge a cutover, and the files that they name.
func (c *checker) hooks(a *App, dir string) {
	var all []string
	for _, p := range Points() {
		for i, h := range a.Hooks.At(p) {
			all = append(all, c.hook(h, dir, "hooks."+indexed(string(p), i), "hooks", string(p), i)...)
		}
	}
	for i, h := range a.Cutover.judges() {
		all = append(all, c.hook(h, dir, "cutover.abort_on."+indexed("command", i), "cutover", "abort_on", "command", i)...)
	}
	c.hookFiles(dir, all)
}

// judges are the commands that judge a cutover.
func (c *Cutover) judges() []Hook {
	var list []Hook
	if c.AbortOn != nil {
		for i := range c.AbortOn.Command {
			list = append(list, c.AbortOn.Command[i].Hook())
		}
	}
	return list
}

// hook checks one command, and gives the files that it needs.
func (c *checker) hook(h Hook, dir, name string, at ...any) []string {
	below := func(keys ...any) []any { return append(slices.Clone(at), keys...) }
	if h.Timeout < leastTimeout && c.decodes(new(Duration), below("timeout")...) {
		c.fail(c.at(below("timeout")...), "%s.timeout must be at least %s", name, leastTimeout)
	}
	for _, variable := range sortedKeys(h.Secrets) {
		if !envPattern.MatchString(variable) || strings.HasPrefix(variable, "RELEASE_") {
			c.fail(c.root.LocateKey(below("secrets", variable)...), "%q in %s.secrets is not a name that a variable of a hook may have", variable, name)
		}
		c.reference(c.at(below("secrets", variable)...), name+".secrets."+variable, h.Secrets[variable])
	}
	if c.elsewhere {
		return nil
	}
	files, err := h.files(dir)
	if err != nil {
		c.fileOf(c.at(at...), name, err)
	}
	return files
}

// fileOf says what is wrong with a file of a hook.
func (c *checker) fileOf(pos Position, name string, err error) {
	e := c.fail(pos, "%s: %v", name, err)
	for _, cause := range fault.All(err) {
		if cause.Hint != "" {
			_ = e.WithHint("%s", cause.Hint)
		}
	}
}

// hookFiles checks how many files there are, and how large they are together.
func (c *checker) hookFiles(dir string, files []string) {
	slices.Sort(files)
	files = slices.Compact(files)
	var sum int64
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err == nil {
			sum += info.Size()
		}
	}
	if len(files) > maxHookFiles || sum > maxHookBytes {
		c.fail(c.root.LocateKey("hooks"), "hooks need %s of %s, and may have %d of %s", human.Count(len(files), "file"), human.Size(sum),
			maxHookFiles, Bytes(maxHookBytes)).WithHint("name the files that are needed, not whole folders")
	}
}
