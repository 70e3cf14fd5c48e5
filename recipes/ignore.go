package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/plainfile"
)

// IgnoreName is the name of the files that Ignore reads.
const IgnoreName = ".releaseignore"

// Ignore knows the .releaseignore files of a project.
type Ignore struct {
	root  string
	rules map[string][]ignoreRule // by folder relative to root, "." for root itself
}

type ignoreRule struct {
	pattern *regexp.Regexp // of the path relative to the rule's folder
	negate  bool
	dirOnly bool
	where   string // "file:line"
}

func newIgnore(root string) *Ignore { return &Ignore{root: root, rules: map[string][]ignoreRule{}} }

// Match reports whether a path, slash-separated and relative to the project's folder, is left out of copies: because
// of a pattern, because it lies in a folder that is left out, or because it is or lies in .git.
func (i *Ignore) Match(path string, isDir bool) bool { return i.rule(path, isDir) != "" }

// rule is Match with what is to blame: "" if the path is copied, else a pattern's "file:line" or the rule about .git.
func (i *Ignore) rule(name string, isDir bool) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return ""
	}
	for end := 0; end < len(name); {
		next := strings.IndexByte(name[end:], '/')
		if next < 0 {
			break
		}
		if where := i.one(name[:end+next], true); where != "" {
			return where
		}
		end += next + 1
	}
	return i.one(name, isDir)
}

// one judges a path whose folders are all copied. The last pattern of the deepest file that matches wins.
func (i *Ignore) one(name string, isDir bool) string {
	if path.Base(name) == ".git" {
		return "the rule that .git is never copied"
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		rules := i.rules[dir]
		rel := name
		if dir != "." {
			rel = strings.TrimPrefix(name, dir+"/")
		}
		for n := len(rules) - 1; n >= 0; n-- {
			r := rules[n]
			if r.dirOnly && !isDir || !r.pattern.MatchString(rel) {
				continue
			}
			if r.negate {
				return ""
			}
			return r.where
		}
		if dir == "." {
			return ""
		}
	}
}

// load reads the files in the project's folder and in each folder down to dir.
func (i *Ignore) load(dir string) fault.List {
	var errs fault.List
	for {
		rel, err := filepath.Rel(i.root, dir)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return errs
		}
		rel = filepath.ToSlash(rel)
		if _, known := i.rules[rel]; !known {
			rules, problems := readIgnore(dir, path.Join(rel, IgnoreName))
			i.rules[rel] = rules
			errs = append(errs, problems...)
		}
		if rel == "." {
			return errs
		}
		dir = filepath.Dir(dir)
	}
}

// maxIgnore bounds a file of patterns, in bytes.
const maxIgnore = 1 << 20

func readIgnore(dir, shown string) ([]ignoreRule, fault.List) {
	data, err := plainfile.Read(filepath.Join(dir, IgnoreName), maxIgnore)
	if errors.Is(err, fs.ErrNotExist) {
		return []ignoreRule{}, nil
	}
	if err != nil {
		return nil, fault.All(err)
	}
	return parseIgnore(shown, string(data))
}

func parseIgnore(file, text string) ([]ignoreRule, fault.List) {
	rules := []ignoreRule{}
	var errs fault.List
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		rule, ok, err := parseIgnoreLine(strings.TrimSuffix(line, "\r"))
		if err != nil {
			errs = append(errs, Position{File: file, Line: i + 1, Column: 1}.Errorf("%w", err))
		}
		if ok {
			rule.where = fmt.Sprintf("%s:%d", file, i+1)
			rules = append(rules, rule)
		}
	}
	return rules, errs
}

// parseIgnoreLine reads one line as gitignore(5) says; ok is false for a line without a pattern.
func parseIgnoreLine(line string) (rule ignoreRule, ok bool, err error) {
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = strings.TrimSuffix(line, " ")
	}
	if line == "" || line[0] == '#' {
		return rule, false, nil
	}
	pattern := line
	if rest, negated := strings.CutPrefix(pattern, "!"); negated {
		pattern, rule.negate = rest, true
	}
	if rest, dir := strings.CutSuffix(pattern, "/"); dir {
		pattern, rule.dirOnly = rest, true
	}
	if pattern == "" {
		return rule, false, nil
	}
	anchored := strings.Contains(pattern, "/")
	expression, err := globExpression(strings.TrimPrefix(pattern, "/"))
	if err != nil {
		return rule, false, fmt.Errorf("pattern %q: %w", line, err)
	}
	if !anchored {
		expression = "(?:.*/)?" + expression
	}
	rule.pattern, err = regexp.Compile("(?s)^" + expression + "$")
	if err != nil {
		return rule, false, fmt.Errorf("pattern %q cannot be read", line)
	}
	return rule, true, nil
}

// globExpression is the regular expression of a gitignore pattern.
func globExpression(p string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(p); {
		atStart := i == 0 || p[i-1] == '/'
		stars := len(p[i:]) - len(strings.TrimLeft(p[i:], "*"))
		switch rest := p[i+stars:]; {
		case atStart && stars > 1 && strings.HasPrefix(rest, "/"):
			b.WriteString("(?:.*/)?")
			i += stars + 1
		case atStart && stars > 1 && rest == "":
			b.WriteString(".*")
			i += stars
		case p[i] == '*':
			b.WriteString("[^/]*")
			i++
		case p[i] == '?':
			b.WriteString("[^/]")
			i++
		case p[i] == '[':
			class, length, err := classExpression(p[i:])
			if err != nil {
				return "", err
			}
			b.WriteString(class)
			i += length
		case p[i] == '\\':
			if i+1 == len(p) {
				return "", errors.New("ends in a backslash")
			}
			i++
			fallthrough
		default:
			size := len(firstRune(p[i:]))
			b.WriteString(regexp.QuoteMeta(p[i : i+size]))
			i += size
		}
	}
	return b.String(), nil
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}

// classExpression is the regular expression of the bracket expression that p begins with, and its length in p.
func classExpression(p string) (string, int, error) {
	var b strings.Builder
	b.WriteByte('[')
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		b.WriteString("^/")
		i++
	}
	for first := true; ; first = false {
		if i >= len(p) {
			return "", 0, errors.New("has a [ without ]")
		}
		if p[i] == ']' && !first {
			break
		}
		switch named := strings.Index(p[i:], ":]"); {
		case strings.HasPrefix(p[i:], "[:") && named > 0:
			b.WriteString(p[i : i+named+2])
			i += named + 2
			continue
		case p[i] == '-':
			b.WriteByte('-')
			i++
			continue
		case p[i] == '\\' && i+1 < len(p):
			i++
		}
		r := firstRune(p[i:])
		b.WriteString(classQuote(r))
		i += len(r)
	}
	b.WriteByte(']')
	return b.String(), i + 1, nil
}

func classQuote(r string) string {
	if strings.Contains(`\[]^-&~`, r) {
		return `\` + r
	}
	return r
}
