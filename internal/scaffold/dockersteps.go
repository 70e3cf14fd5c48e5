package scaffold

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// step is an entry of one of a recipe's groups.
type step struct {
	group string // copy, fetch, git or run
	item  string // YAML of the entry, but for the end of a run's
	dir   string // of a run: the folder in which it begins
	to    string // what it brings to the image; "" of a run
}

// stepGroup is one group of a recipe with its entries.
type stepGroup struct {
	key   string
	steps []step
}

// arranged spreads steps over files, the last of which includes the others: a group stands in a file once, and its place
// there is its order. There is one file at least.
func arranged(steps []step) [][]stepGroup {
	files := [][]stepGroup{nil}
	for _, st := range steps {
		file := &files[len(files)-1]
		n := len(*file)
		switch at := slices.IndexFunc(*file, func(g stepGroup) bool { return g.key == st.group }); {
		case at < 0:
			*file = append(*file, stepGroup{st.group, []step{st}})
		case at == n-1:
			(*file)[at].steps = append((*file)[at].steps, st)
		default:
			files = append(files, []stepGroup{{st.group, []step{st}}})
		}
	}
	return files
}

// groups is YAML of a file's groups.
func (s *stage) groups(groups []stepGroup) string {
	var b strings.Builder
	for _, g := range groups {
		if g.key == "run" {
			b.WriteString("# network: true makes the image depend on the day: take it away where a command needs none.\n")
		}
		fmt.Fprintf(&b, "%s:\n", g.key)
		for _, st := range g.steps {
			item := st.item
			if g.key == "run" {
				if st.dir != s.workdir {
					item += ", dir: " + quote(st.dir)
				}
				item += "}"
			}
			fmt.Fprintf(&b, "  - %s\n", item)
		}
	}
	return b.String()
}

func (s *stage) run(rest string) {
	for strings.HasPrefix(rest, "--") {
		option, after, _ := strings.Cut(rest, " ")
		s.note("RUN %s is left out", option)
		rest = strings.TrimSpace(after)
	}
	if strings.HasPrefix(rest, "<<") {
		s.note("RUN %s: write the lines of the script into cmd: of a run step of recipe.yaml", rest)
		return
	}
	s.shell = append(s.shell, rest)
	s.makeWorkdir()
	text := quote(rest)
	var words []string
	if json.Unmarshal([]byte(rest), &words) == nil && len(words) > 0 {
		text = list(words)
	}
	item := fmt.Sprintf("{cmd: %s, network: true", text)
	if s.user != "" && s.user != "root" {
		item += ", user: " + quote(s.user)
	}
	s.steps = append(s.steps, step{group: "run", dir: s.workdir, item: item + s.argumentsEnv()})
}

// makeWorkdir makes the folder as WORKDIR does, unless something lies in it already: a run step begins in one that is there.
func (s *stage) makeWorkdir() {
	if s.workdir == "/" || slices.ContainsFunc(s.steps, func(st step) bool { return under(st.to, s.workdir) }) {
		return
	}
	s.steps = append(s.steps, step{group: "run", dir: "/", to: s.workdir, item: "{cmd: " + list([]string{"/bin/mkdir", "-p", s.workdir})})
}

func under(at, dir string) bool { return at == dir || strings.HasPrefix(at, dir+"/") }

// argumentsEnv is the env of a run: the ARGs that stand above it, but for those that ENV says otherwise.
func (s *stage) argumentsEnv() string {
	var entries []string
	for _, kv := range lastOfEach(s.args) {
		if !slices.ContainsFunc(s.env, func(e [2]string) bool { return e[0] == kv[0] }) {
			entries = append(entries, fmt.Sprintf("%s: %q", kv[0], kv[1]))
		}
	}
	if len(entries) == 0 {
		return ""
	}
	return ", env: {" + strings.Join(entries, ", ") + "}"
}

// copyOptions are the flags of COPY and ADD.
type copyOptions struct {
	rest     string // YAML: owner and mode
	stage    string
	checksum string
}

func (s *stage) copy(word, rest string) {
	var paths []string
	var o copyOptions
	for _, w := range copyWords(rest) {
		if strings.HasPrefix(w, "--") {
			s.option(word, w, &o)
		} else {
			paths = append(paths, s.expand(w))
		}
	}
	if len(paths) < 2 {
		return
	}
	from, to := paths[:len(paths)-1], paths[len(paths)-1]
	for _, p := range from {
		switch {
		case strings.HasPrefix(p, "<<"):
			s.note("%s %s: write the text into files: of recipe.yaml, with to: %s", word, p, quote(s.absolute(to)))
			return
		case word == "ADD" && isGit(p):
			s.addGit(p, to)
		case word == "ADD" && isWeb(p):
			s.addFetch(p, to, o)
		default:
			s.addCopy(word, p, to, len(from) > 1, o)
		}
	}
}

var octal = regexp.MustCompile(`^0?[0-7]{3,4}$`)

func (s *stage) option(word, text string, o *copyOptions) {
	name, value, _ := strings.Cut(strings.TrimPrefix(text, "--"), "=")
	value = s.expand(value)
	switch {
	case name == "chown":
		o.rest += ", owner: " + quote(value)
	case name == "chmod" && octal.MatchString(value):
		o.rest += fmt.Sprintf(", mode: %q", "0"+strings.TrimPrefix(value, "0"))
	case name == "from":
		o.stage = text
	case name == "checksum" && strings.HasPrefix(value, "sha256:"):
		o.checksum = strings.TrimPrefix(value, "sha256:")
	case name == "link":
	default:
		s.note("%s %s is left out", word, text)
	}
}

func copyWords(rest string) []string {
	var list []string
	if json.Unmarshal([]byte(rest), &list) == nil {
		return list
	}
	return strings.Fields(rest)
}

func isWeb(p string) bool { return strings.HasPrefix(p, "http://") || strings.HasPrefix(p, "https://") }

func isGit(p string) bool {
	repository, _, _ := strings.Cut(p, "#")
	return strings.HasPrefix(p, "git@") || strings.HasPrefix(p, "git://") || isWeb(p) && strings.HasSuffix(repository, ".git")
}

// addGit is ADD of a repository.
func (s *stage) addGit(from, to string) {
	repository, ref, _ := strings.Cut(from, "#")
	if ref == "" || strings.Contains(ref, ":") {
		s.note("ADD %s is left out: write it as git: [{url: %q, ref: TAG, to: %s}]", from, repository, quote(s.absolute(to)))
		return
	}
	s.steps = append(s.steps, step{group: "git", to: s.absolute(to), item: fmt.Sprintf("{url: %q, ref: %s, to: %s}", repository, quote(ref), quote(s.absolute(to)))})
}

// addFetch is ADD of a download, which is not unpacked.
func (s *stage) addFetch(from, to string, o copyOptions) {
	target := s.absolute(to)
	if strings.HasSuffix(to, "/") || to == "." {
		u, err := url.Parse(from)
		base := ""
		if err == nil {
			base = path.Base(u.Path)
		}
		if base == "" || base == "." || base == "/" {
			s.note("ADD %s is left out: write it as fetch: [{url: %q, to: %s/NAME}]", from, from, target)
			return
		}
		target = path.Join(target, base)
	}
	item := fmt.Sprintf("{url: %q", from)
	if o.checksum != "" {
		item += fmt.Sprintf(", sha256: %q", o.checksum)
	} else {
		s.note("ADD %s has no checksum: the first bake pins what it gets in recipe.yaml.lock; add its sha256: to recipe.yaml", from)
	}
	s.steps = append(s.steps, step{group: "fetch", to: target, item: item + ", to: " + quote(target) + o.rest + "}"})
}

var archive = regexp.MustCompile(`\.(tar|tgz|tbz2?|txz|tzst|tar\.[a-z0-9]+)$`)

func (s *stage) addCopy(word, from, to string, several bool, o copyOptions) {
	target := s.absolute(to)
	if several || strings.HasSuffix(to, "/") || to == "." {
		if base := filepath.Base(from); base != "." && filepath.Ext(from) != "" {
			target = filepath.Join(target, base)
		}
	}
	switch {
	case o.stage != "":
		s.note("COPY %s %s comes from another stage: put the file into the project", o.stage, from)
	case strings.ContainsAny(from, "*?["):
		s.note("%s %s: copy: has no patterns; name the files or their folder in recipe.yaml", word, from)
	case word == "ADD" && archive.MatchString(from):
		s.note("ADD %s unpacks the archive, copy: does not: unpack it in the project, and copy the folder", from)
	}
	item := fmt.Sprintf("{from: %s, to: %s%s}", quote(local(from)), quote(target), o.rest)
	s.steps = append(s.steps, step{group: "copy", to: target, item: item})
}

// local is a path below the project.
func local(path string) string {
	path = filepath.Clean(strings.TrimPrefix(path, "/"))
	if path == "." {
		return "."
	}
	return "./" + path
}
