package docs

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// verb is one command of the program as its --help shows it.
type verb struct {
	path  string // "release images ls"
	flags map[string]bool
	subs  []string
}

var (
	helpFlag = regexp.MustCompile(`(?m)^ +(?:-([a-z]), )?--([a-z][a-z-]*)`)
	helpSub  = regexp.MustCompile(`^  ([a-z][a-z-]*) +\S`)
)

// verbs asks the program for all its verbs.
func verbs(t *testing.T, release string) map[string]verb {
	t.Helper()
	found := map[string]verb{}
	var ask func(words []string)
	ask = func(words []string) {
		out, err := exec.CommandContext(t.Context(), release, append(slices.Clone(words), "--help")...).Output()
		if err != nil {
			t.Fatalf("release %s --help: %v", strings.Join(words, " "), err)
		}
		v := verb{path: strings.Join(append([]string{"release"}, words...), " "), flags: map[string]bool{}, subs: subverbs(string(out))}
		for _, m := range helpFlag.FindAllStringSubmatch(string(out), -1) {
			v.flags["--"+m[2]] = true
			if m[1] != "" {
				v.flags["-"+m[1]] = true
			}
		}
		found[v.path] = v
		for _, sub := range v.subs {
			ask(append(slices.Clone(words), sub))
		}
	}
	ask(nil)
	return found
}

// subverbs reads the lists of verbs in a help text: indented lines below a title that ends in a colon.
func subverbs(help string) []string {
	var subs []string
	listing := false
	for _, l := range strings.Split(help, "\n") {
		switch {
		case l == "":
			listing = false
		case !strings.HasPrefix(l, " "):
			listing = strings.HasSuffix(l, ":") && !slices.Contains([]string{"Usage:", "Examples:", "Flags:", "Global Flags:", "Exit codes:"}, l)
		case listing:
			if m := helpSub.FindStringSubmatch(l); m != nil && m[1] != "help" {
				subs = append(subs, m[1])
			}
		}
	}
	return subs
}

// TestCommandsExist holds every command line of the documents against the program's help: transcripts, blocks, prose.
func TestCommandsExist(t *testing.T) {
	all := verbs(t, program(t))
	for _, d := range documents(t) {
		for _, c := range commands(d) {
			if err := known(all, c.text); err != nil {
				t.Errorf("%s:%d: %s: %v", d.name, c.number, c.text, err)
			}
		}
	}
}

var (
	inline    = regexp.MustCompile("`(release [^`]+)`")
	inCommand = regexp.MustCompile(`(?:^|[|&;(!{] *|\bsudo |\bif |\$\()(release [^|&;)<>]*)`)
)

// commands finds what the document types: "$ release …" of transcripts, lines of sh blocks, code in sentences.
func commands(d document) []line {
	var list []line
	add := func(number int, text string) {
		if text, _, found := strings.Cut(text, " #"); found || text != "" {
			list = append(list, line{number, strings.TrimSpace(text)})
		}
	}
	for _, l := range d.prose {
		for _, m := range inline.FindAllStringSubmatch(l.text, -1) {
			add(l.number, m[1])
		}
	}
	for _, b := range d.blocks {
		for _, l := range b.lines() {
			text := strings.TrimSpace(l.text)
			prompt, is := strings.CutPrefix(text, "$ ")
			if b.is("console") && !is || !b.is("console") && !b.is("sh") {
				continue
			}
			if is {
				text = prompt
			}
			for _, m := range inCommand.FindAllStringSubmatch(text, -1) {
				add(l.number, m[1])
			}
		}
	}
	return list
}

// known says why a command line is none of the program's.
func known(all map[string]verb, text string) error {
	words := strings.Fields(text)
	v := all["release"]
	for i := 1; i < len(words); i++ {
		w := strings.Trim(words[i], `"'`)
		switch {
		case w == "--":
			return nil
		case w != "-" && strings.HasPrefix(w, "-"): // a dash alone is standard input or output
			flag, _, _ := strings.Cut(w, "=")
			if !v.flags[flag] && !all["release"].flags[flag] && flag != "--help" && !bundled(v, all["release"], flag) {
				return fmt.Errorf("%s has no flag %s", v.path, flag)
			}
		case slices.Contains(v.subs, w):
			v = all[v.path+" "+w]
		case len(v.subs) > 0 && i == 1:
			return fmt.Errorf("there is no verb %q", w)
		}
	}
	return nil
}

// bundled takes -it for -i -t.
func bundled(a, b verb, flag string) bool {
	if strings.HasPrefix(flag, "--") || len(flag) < 3 {
		return false
	}
	for _, letter := range flag[1:] {
		if f := "-" + string(letter); !a.flags[f] && !b.flags[f] {
			return false
		}
	}
	return true
}

// TestEveryVerbIsDescribed holds docs/cli.md against the program's help.
func TestEveryVerbIsDescribed(t *testing.T) {
	text := ""
	for _, d := range documents(t) {
		if filepath.Base(d.name) == "cli.md" {
			text = d.text
		}
	}
	global := map[string]bool{}
	all := verbs(t, program(t))
	for flag := range all["release"].flags {
		global[flag] = true
	}
	for _, v := range all {
		section := sectionOf(text, v)
		if section == "" {
			t.Errorf("docs/cli.md does not describe %s", v.path)
			continue
		}
		for flag := range v.flags {
			if !strings.Contains(section, flag) && (!global[flag] || v.path == "release") && flag != "--help" && flag != "-h" && strings.HasPrefix(flag, "--") {
				t.Errorf("docs/cli.md: the section of %s does not mention %s", v.path, flag)
			}
		}
	}
}

// sectionOf is the text below the heading that names the verb, or the group that it belongs to, up to the next.
func sectionOf(text string, v verb) string {
	if v.path == "release" {
		return text
	}
	words := strings.Fields(v.path)
	_, rest, found := strings.Cut(text, "\n### "+words[1]+"\n")
	if !found {
		return ""
	}
	section, _, _ := strings.Cut(rest, "\n### ")
	section, _, _ = strings.Cut(section, "\n## ")
	if len(words) > 2 && !strings.Contains(section, "`"+strings.Join(words[1:], " ")) && !strings.Contains(section, v.path) {
		return ""
	}
	return section
}

// TestHelpExamples keeps the examples of the help texts from naming flags that are not there.
func TestHelpExamples(t *testing.T) {
	release := program(t)
	all := verbs(t, release)
	for _, v := range all {
		for _, l := range examples(t.Context(), release, v) {
			for _, m := range inCommand.FindAllStringSubmatch(l, -1) {
				text, _, _ := strings.Cut(m[1], "   ")
				if err := known(all, strings.TrimSpace(text)); err != nil {
					t.Errorf("%s --help: %s: %v", v.path, text, err)
				}
			}
		}
	}
}

func examples(ctx context.Context, release string, v verb) []string {
	out, err := exec.CommandContext(ctx, release, append(strings.Fields(v.path)[1:], "--help")...).Output()
	if err != nil {
		return []string{err.Error()}
	}
	_, rest, _ := strings.Cut(string(out), "Examples:\n")
	text, _, _ := strings.Cut(rest, "\n\n")
	var lines []string
	for l := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(l))
	}
	return lines
}
