package scaffold

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stage is what the last stage of a Dockerfile says.
type stage struct {
	from       string
	args       map[string]string
	env        [][2]string
	user       string
	workdir    string
	ports      []int
	entrypoint []string
	cmd        []string
	copies     []string
	runs       []string
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
	return &finding{
		kind: DockerfileKind, name: filepath.Base(dir), port: port, recipe: s.recipe(), notes: s.notes, ignore: ownFiles(),
		comment: " Made from the Dockerfile: copies come before runs here.",
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
	s := &stage{args: map[string]string{}, workdir: "/"}
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
		args := s.args
		if s.from != "" {
			s.notes = []string{"the Dockerfile has several stages: only the last is translated; build what it copies first"}
		}
		*s = stage{args: args, notes: s.notes, workdir: "/", from: s.expand(lastFlagless(rest))}
	case "ARG":
		name, value, _ := strings.Cut(rest, "=")
		s.args[name] = strings.Trim(value, `"'`)
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
		s.copy(rest)
	case "RUN":
		s.shell = append(s.shell, rest)
		s.runs = append(s.runs, fmt.Sprintf("{cmd: %s, network: true}", quote(rest)))
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

func (s *stage) expand(text string) string {
	return os.Expand(text, func(name string) string {
		name, fallback, _ := strings.Cut(name, ":-")
		if v, ok := s.args[name]; ok && v != "" {
			return v
		}
		for _, kv := range s.env {
			if kv[0] == name {
				return kv[1]
			}
		}
		return fallback
	})
}

func (s *stage) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(s.workdir, path)
}

func (s *stage) environment(rest string) {
	if name, value, ok := strings.Cut(rest, " "); ok && !strings.Contains(name, "=") {
		s.env = append(s.env, [2]string{name, s.expand(strings.TrimSpace(value))})
		return
	}
	for _, word := range shellWords(rest) {
		if name, value, ok := strings.Cut(word, "="); ok {
			s.env = append(s.env, [2]string{name, s.expand(value)})
		}
	}
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

func (s *stage) copy(rest string) {
	var paths, options []string
	for _, w := range copyWords(rest) {
		if strings.HasPrefix(w, "--") {
			options = append(options, w)
		} else {
			paths = append(paths, s.expand(w))
		}
	}
	if len(paths) < 2 {
		return
	}
	from, to := paths[:len(paths)-1], paths[len(paths)-1]
	for _, p := range from {
		s.copies = append(s.copies, s.copyItem(p, to, len(from) > 1, options))
	}
}

func copyWords(rest string) []string {
	var list []string
	if json.Unmarshal([]byte(rest), &list) == nil {
		return list
	}
	return strings.Fields(rest)
}

func (s *stage) copyItem(from, to string, several bool, options []string) string {
	target := s.absolute(to)
	if several || strings.HasSuffix(to, "/") || to == "." {
		if base := filepath.Base(from); base != "." && filepath.Ext(from) != "" {
			target = filepath.Join(target, base)
		}
	}
	item := fmt.Sprintf("{from: %s, to: %s", quote(local(from)), quote(target))
	for _, o := range options {
		if owner, ok := strings.CutPrefix(o, "--chown="); ok {
			item += ", owner: " + quote(owner)
		}
		if strings.HasPrefix(o, "--from=") {
			s.notes = append(s.notes, fmt.Sprintf("COPY %s %s comes from another stage: put the file into the project", o, from))
		}
	}
	return item + "}"
}

// local is a path below the project.
func local(path string) string {
	path = filepath.Clean(strings.TrimPrefix(path, "/"))
	if path == "." {
		return "."
	}
	return "./" + path
}

func (s *stage) recipe() string {
	var b strings.Builder
	if s.from == "scratch" || s.from == "" {
		b.WriteString("base: scratch\n")
	} else {
		fmt.Fprintf(&b, "base: {image: %s}\n", quote(s.from))
	}
	group(&b, "copy", s.copies)
	if len(s.runs) > 0 {
		b.WriteString("# network: true makes the image depend on the day: take it away where a command needs none.\n")
	}
	group(&b, "run", s.runs)
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
	return b.String()
}

func group(b *strings.Builder, key string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "%s:\n", key)
	for _, item := range items {
		fmt.Fprintf(b, "  - %s\n", item)
	}
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
