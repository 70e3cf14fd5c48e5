package scaffold

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stage is what the last stage of a Dockerfile says.
type stage struct {
	from       string
	global     map[string]string // of ARGs above the first FROM
	args       [][2]string       // of the stage's own ARGs: those that have a value
	env        [][2]string
	user       string
	workdir    string
	ports      []int
	entrypoint []string
	cmd        []string
	steps      []step   // in the Dockerfile's order
	shell      []string // what runs do, as the Dockerfile has it
	notes      []string
}

// dockerfile translates a Dockerfile as far as a recipe can say the same.
func dockerfile(dir string) (*finding, error) {
	b, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := parseDockerfile(string(b))
	port := 8080
	if len(s.ports) > 0 {
		port = s.ports[0]
	} else {
		s.ports = []int{port}
		s.notes = append(s.notes, "the Dockerfile has no EXPOSE: check ports: in recipe.yaml")
	}
	if note := s.debianNote(); note != "" {
		s.notes = append(s.notes, note)
	}
	recipe, parts := s.recipe()
	ignore := ownFiles()
	for _, part := range parts {
		ignore = append(ignore, part.Path)
	}
	return &finding{
		kind: DockerfileKind, name: filepath.Base(dir), port: port, recipe: recipe, parts: parts, notes: s.notes, ignore: ignore,
		comment: " Made from the Dockerfile.",
	}, nil
}

// keptDockerfile leaves the Dockerfile to the engine.
func keptDockerfile(dir string) (*finding, error) {
	f, err := dockerfile(dir)
	if err != nil || f == nil {
		return nil, err
	}
	kept := &finding{kind: "Dockerfile, kept", name: f.name, port: f.port, kept: "./Dockerfile"}
	b, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	if len(parseDockerfile(string(b)).ports) == 0 {
		kept.notes = []string{"the Dockerfile has no EXPOSE: add the port that the app listens on"}
	}
	return kept, nil
}

// ownFiles are those that no image needs.
func ownFiles() []string {
	return []string{"release.yaml", "recipe.yaml", "recipe.yaml.lock", ".releaseignore", "Dockerfile"}
}

func parseDockerfile(text string) *stage {
	s := &stage{global: map[string]string{}, workdir: "/"}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(dropComments(text), "\\\n", " ")
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.instruction(strings.ToUpper(word), strings.TrimSpace(rest))
	}
	return s
}

func dropComments(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func (s *stage) instruction(word, rest string) {
	switch word {
	case "FROM":
		global := s.global
		if s.from != "" {
			s.notes = []string{"the Dockerfile has several stages: only the last is translated; build what it copies first"}
		}
		from := os.Expand(lastFlagless(rest), variable(func(name string) (string, bool) { v, ok := global[name]; return v, ok }))
		*s = stage{global: global, notes: s.notes, workdir: "/", from: from}
	case "ARG":
		s.arguments(rest)
	case "ENV":
		s.environment(rest)
	case "USER":
		s.user = s.expand(rest)
	case "WORKDIR":
		s.workdir = s.absolute(s.expand(rest))
	case "EXPOSE":
		s.expose(rest)
	case "ENTRYPOINT":
		s.entrypoint, s.cmd = command(rest), nil
	case "CMD":
		s.cmd = command(rest)
	case "COPY", "ADD":
		s.copy(word, rest)
	case "RUN":
		s.run(rest)
	case "HEALTHCHECK", "VOLUME", "SHELL", "ONBUILD", "STOPSIGNAL":
		s.notes = append(s.notes, word+" of the Dockerfile is not translated")
	}
}

// lastFlagless is the image of "--platform=x image AS name".
func lastFlagless(rest string) string {
	for _, f := range strings.Fields(rest) {
		if !strings.HasPrefix(f, "--") {
			return f
		}
	}
	return ""
}

// arguments are defaults that the stage's runs see as variables.
func (s *stage) arguments(rest string) {
	for _, word := range shellWords(rest) {
		name, value, ok := strings.Cut(word, "=")
		value = s.expand(value)
		switch {
		case s.from == "":
			s.global[name] = value
			continue
		case !ok:
			value, ok = s.global[name]
		}
		if !ok {
			s.note("ARG %s has no default: write its value where recipe.yaml needs it (env: of a run step, or secrets: for what is secret)", name)
			continue
		}
		s.args = append(s.args, [2]string{name, value})
	}
}

func (s *stage) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(s.notes, note) {
		s.notes = append(s.notes, note)
	}
}

func (s *stage) expand(text string) string { return os.Expand(text, variable(s.value)) }

// value of a variable in the stage; ENV counts more than ARG.
func (s *stage) value(name string) (string, bool) {
	for _, list := range [][][2]string{s.env, s.args} {
		for _, kv := range slices.Backward(list) {
			if kv[0] == name {
				return kv[1], true
			}
		}
	}
	return "", false
}

// variable looks up NAME and NAME:-DEFAULT.
func variable(value func(string) (string, bool)) func(string) string {
	return func(name string) string {
		name, fallback, _ := strings.Cut(name, ":-")
		if v, ok := value(name); ok && v != "" {
			return v
		}
		return fallback
	}
}

func (s *stage) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.workdir, path)
}

func (s *stage) environment(rest string) {
	if name, value, ok := strings.Cut(rest, " "); ok && !strings.Contains(name, "=") {
		s.setEnv(name, strings.TrimSpace(value))
		return
	}
	for _, word := range shellWords(rest) {
		if name, value, ok := strings.Cut(word, "="); ok {
			s.setEnv(name, value)
		}
	}
}

// usualPath is what images have as PATH.
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// setEnv keeps a variable. What its value refers to may be one of the base image, which nobody has looked into.
func (s *stage) setEnv(name, text string) {
	value := os.Expand(text, variable(func(of string) (string, bool) {
		v, ok := s.value(of)
		switch {
		case ok:
		case of == "PATH" && s.from != "scratch":
			v, ok = usualPath, true
			s.note("ENV %s uses the base image's PATH, which recipe.yaml takes to be %s", name, usualPath)
		default:
			s.note("ENV %s uses $%s, which the Dockerfile does not set: write it out in env: of recipe.yaml", name, of)
		}
		return v, ok
	}))
	s.env = append(s.env, [2]string{name, value})
}

// shellWords splits at spaces outside of quotes.
func shellWords(text string) []string {
	var words []string
	var word strings.Builder
	var quoted rune
	for _, r := range text {
		switch {
		case quoted != 0 && r == quoted:
			quoted = 0
		case quoted == 0 && (r == '"' || r == '\''):
			quoted = r
		case quoted == 0 && (r == ' ' || r == '\t'):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(r)
		}
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}

func (s *stage) expose(rest string) {
	for _, f := range strings.Fields(s.expand(rest)) {
		number, protocol, _ := strings.Cut(f, "/")
		if port, err := strconv.Atoi(number); err == nil && port > 0 && port < 1<<16 && (protocol == "" || protocol == "tcp") {
			s.ports = append(s.ports, port)
		}
	}
}

// command is the list form, or the shell form as a list.
func command(rest string) []string {
	var list []string
	if json.Unmarshal([]byte(rest), &list) == nil {
		return list
	}
	return []string{"/bin/sh", "-c", rest}
}

// recipe is what recipe.yaml says after its name, and the files that it includes.
func (s *stage) recipe() (string, []File) {
	var b strings.Builder
	files := arranged(s.steps)
	last := len(files) - 1
	var parts []File
	for i, groups := range files[:last] {
		part := File{Path: fmt.Sprintf("recipe-%d.yaml", i+1)}
		part.Content = "# Part of recipe.yaml: its steps come before those that stand there.\n" + s.groups(groups)
		parts = append(parts, part)
	}
	if len(parts) > 0 {
		var names []string
		for _, part := range parts {
			names = append(names, part.Path)
		}
		b.WriteString("# A file has each group once; what the Dockerfile does before that stands in:\n")
		fmt.Fprintf(&b, "include: %s\n", list(names))
	}
	if s.from == "scratch" || s.from == "" {
		b.WriteString("base: scratch\n")
	} else {
		fmt.Fprintf(&b, "base: {image: %s}\n", quote(s.from))
	}
	b.WriteString(s.groups(files[last]))
	if len(s.env) > 0 {
		b.WriteString("env:\n")
		for _, kv := range lastOfEach(s.env) {
			fmt.Fprintf(&b, "  %s: %q\n", kv[0], kv[1])
		}
	}
	if s.user != "" {
		fmt.Fprintf(&b, "user: %q\n", s.user)
	}
	if s.workdir != "/" {
		fmt.Fprintf(&b, "workdir: %s\n", quote(s.workdir))
	}
	fmt.Fprintf(&b, "ports: %s\n", strings.ReplaceAll(fmt.Sprint(s.ports), " ", ", "))
	if full := append(append([]string{}, s.entrypoint...), s.cmd...); len(full) > 0 {
		fmt.Fprintf(&b, "entrypoint: %s\n", list(full))
	} else {
		b.WriteString("# no entrypoint: that of the base image\n")
	}
	return b.String(), parts
}

// lastOfEach keeps the last value of each name, in the order of first mention: a key may stand once only.
func lastOfEach(env [][2]string) [][2]string {
	var out [][2]string
	at := map[string]int{}
	for _, kv := range env {
		if i, ok := at[kv[0]]; ok {
			out[i] = kv
			continue
		}
		at[kv[0]] = len(out)
		out = append(out, kv)
	}
	return out
}
