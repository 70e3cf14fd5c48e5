package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// situations are the places of the code where a person must act (exit code 4), by function, and the sections of
// docs/operations.md that say what to type then.
var situations = map[string][]string{
	"orchestrator.abort":           {"Held past a one-way step"},
	"orchestrator.abortBy":         {"Held past a one-way step", "Contract of the database failed"},
	"orchestrator.handedBack":      {"Handed back, but not healthy"},
	"orchestrator.migrationFailed": {"Contract of the database failed"},
	"orchestrator.removeVolumes":   {"Destroyed, but for a volume"},
	"orchestrator.stepWorkers":     {"Rolled back, but a role is not back"},
}

// TestEverySituationThatEndsIn4IsDescribed holds what the code ends with 4 against the sections of docs/operations.md.
func TestEverySituationThatEndsIn4IsDescribed(t *testing.T) {
	sections := operations(t)
	uses := needsPerson(t)
	for place, headings := range situations {
		if uses[place] != len(headings) {
			t.Errorf("%s ends with 4 in %d ways, the list has %d", place, uses[place], len(headings))
		}
		for _, h := range headings {
			if text, found := sections[h]; !found || !strings.Contains(text, "\n$ release ") {
				t.Errorf("docs/operations.md has no section %q that says what to type", h)
			}
			if anchor := "(#" + anchorOf(h) + ")"; !strings.Contains(sections["When a command ends with …"], anchor) {
				t.Errorf("docs/operations.md: the table of exit codes does not lead to %s", anchor)
			}
		}
	}
	for place, n := range uses {
		if situations[place] == nil {
			t.Errorf("%s ends with 4 in %d ways: describe them in docs/operations.md, and list them here", place, n)
		}
	}
}

// operations are the sections of docs/operations.md: heading to text, up to the next one.
func operations(t *testing.T) map[string]string {
	t.Helper()
	sections := map[string]string{}
	for _, d := range documents(t) {
		if filepath.Base(d.name) != "operations.md" {
			continue
		}
		for part := range strings.SplitSeq("\n"+d.text, "\n##") {
			heading, text, _ := strings.Cut(part, "\n")
			sections[strings.TrimSpace(strings.TrimLeft(heading, "#"))] = text
		}
	}
	return sections
}

// anchorOf is how GitHub names a heading's place.
func anchorOf(heading string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(heading), ",", ""), " ", "-")
}

// needsPerson counts where the program makes an error of that code, by package and function. Comparing with it is no place.
func needsPerson(t *testing.T) map[string]int {
	t.Helper()
	root, uses := checkout(t), map[string]int{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if err == nil && slices.Contains([]string{".git", ".cache", "test", "examples", "internal"}, e.Name()) {
				return fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		for _, decl := range f.Decls {
			name := "a declaration"
			if fn, is := decl.(*ast.FuncDecl); is {
				name = fn.Name.Name
			}
			if n := made(decl); n > 0 {
				uses[f.Name.Name+"."+name] += n
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return uses
}

// made counts fault.NeedsPerson in a declaration, but for comparisons.
func made(decl ast.Decl) (n int) {
	ast.Inspect(decl, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.BinaryExpr:
			return x.Op != token.EQL && x.Op != token.NEQ
		case *ast.CaseClause:
			for _, stmt := range x.Body {
				ast.Inspect(stmt, func(inner ast.Node) bool { return count(inner, &n) })
			}
			return false
		}
		return count(node, &n)
	})
	return n
}

// count adds one for a mention of the code, and says whether to look further in.
func count(node ast.Node, n *int) bool {
	if s, is := node.(*ast.SelectorExpr); is && s.Sel.Name == "NeedsPerson" {
		*n++
	}
	return true
}
