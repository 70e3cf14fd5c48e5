package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// document is one Markdown file, cut into its fenced blocks.
type document struct {
	name   string // relative to the checkout
	text   string
	prose  []line // what is outside of blocks
	blocks []block
}

type line struct {
	number int
	text   string
}

// block is a fenced block.
type block struct {
	at     int    // line of the first line inside, 1-based
	info   string // what stands behind the fence
	text   string
	source string // the document's name
}

func (b block) place() string { return fmt.Sprintf("%s:%d", b.source, b.at) }

// is reports whether the info string begins with these words.
func (b block) is(words ...string) bool {
	f := strings.Fields(b.info)
	if len(f) < len(words) {
		return false
	}
	for i, w := range words {
		if f[i] != w {
			return false
		}
	}
	return true
}

// lines are the block's lines with their numbers in the document.
func (b block) lines() []line {
	var list []line
	for i, text := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		list = append(list, line{b.at + i, text})
	}
	return list
}

// checkout is the root of the project.
func checkout(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return root
}

// documents reads README.md and all of docs.
func documents(t *testing.T) []document {
	t.Helper()
	root := checkout(t)
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var list []document
	for _, path := range append([]string{filepath.Join(root, "README.md")}, names...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := parse(filepath.ToSlash(name), string(text))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

var fence = regexp.MustCompile("^( *)```+(.*)$")

// parse cuts a document at its fences.
func parse(name, text string) (document, error) {
	d := document{name: name, text: text}
	var open *block
	for i, l := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(l)
		switch {
		case m == nil && open == nil:
			d.prose = append(d.prose, line{i + 1, l})
		case m == nil:
			open.text += l + "\n"
		case open == nil:
			open = &block{at: i + 2, info: strings.TrimSpace(m[2]), source: name}
		default:
			d.blocks = append(d.blocks, *open)
			open = nil
		}
	}
	if open != nil {
		return d, fmt.Errorf("%s: the block has no end", open.place())
	}
	return d, nil
}

// kinds are the blocks that the test knows.
var kinds = regexp.MustCompile(`^(sh( norun)?|yaml (part (release|recipe|agent)|[a-z0-9./-]+\.yaml)|console|text|json|ini|go)$`)

// TestEveryBlockHasAKind keeps a slip in an info string from leaving a block out unseen.
func TestEveryBlockHasAKind(t *testing.T) {
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if !kinds.MatchString(b.info) {
				t.Errorf("%s: %q is no kind of block that this test knows", b.place(), b.info)
			}
		}
	}
}

var link = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)\)`)

// TestLinks follows the links to files and headings of the project.
func TestLinks(t *testing.T) {
	root := checkout(t)
	for _, d := range documents(t) {
		for _, l := range d.prose {
			for _, m := range link.FindAllStringSubmatch(l.text, -1) {
				if err := follow(root, d, m[1]); err != nil {
					t.Errorf("%s:%d: %v", d.name, l.number, err)
				}
			}
		}
	}
}

func follow(root string, d document, target string) error {
	if strings.Contains(target, "://") {
		return nil
	}
	file, heading, _ := strings.Cut(target, "#")
	text := d.text
	if file != "" {
		path := filepath.Join(root, filepath.Dir(d.name), file)
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text = string(b)
	}
	if heading != "" && !anchors(text)[heading] {
		return fmt.Errorf("%s has no heading #%s", target, heading)
	}
	return nil
}

var notAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)

// anchors are the names under which GitHub reaches the headings of a text.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	inBlock := false
	for _, l := range strings.Split(text, "\n") {
		if fence.MatchString(l) {
			inBlock = !inBlock
		}
		title := strings.TrimLeft(l, "#")
		if inBlock || title == l || !strings.HasPrefix(title, " ") {
			continue
		}
		name := notAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		found[strings.ReplaceAll(name, " ", "-")] = true
	}
	return found
}
