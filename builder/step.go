package builder

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// step is one step of a recipe.
type step interface {
	name() string
	at() recipes.Position
	// make finds or makes the step's layer on top of st. It does not change st.
	make(ctx context.Context, b *bake, st *state) (outcome, error)
}

// outcome is what became of a step; layer is nil when it changes nothing.
type outcome struct {
	layer  *images.Descriptor
	cached bool
}

// Groups of steps, named as in a recipe.
const (
	groupCopy       = "copy"
	groupFiles      = "files"
	groupExtensions = "extensions"
	groupFetch      = "fetch"
	groupGit        = "git"
	groupRun        = "run"
)

// placed is a step with what its order depends on.
type placed struct {
	step  step
	group string
	file  int // rank of the recipe file, included ones first
	pos   recipes.Position
}

// steps lists the steps of a recipe in the order of the bake: file by file, included ones first; within a file group by
// group, as they stand there; within a group as listed. Position is all that says where a group stands.
func steps(r *recipes.Recipe, lock *recipes.Lock) []step {
	var list []placed
	for _, c := range r.Copy {
		list = append(list, placed{step: &copyStep{Copy: c}, group: groupCopy, pos: c.Pos})
	}
	for _, f := range r.FileEntries {
		list = append(list, placed{step: &fileEntryStep{f}, group: groupFiles, pos: f.Pos})
	}
	for _, x := range r.Extensions {
		list = append(list, placed{step: &extensionStep{Extension: x, pin: lock.Extension(x.Name)}, group: groupExtensions, pos: x.Pos})
	}
	for _, f := range r.Fetch {
		list = append(list, placed{step: &fetchStep{Fetch: f, pin: lock.URL(f.URL)}, group: groupFetch, pos: f.Pos})
	}
	for _, g := range r.Git {
		list = append(list, placed{step: &gitStep{Git: g, pin: lock.Commit(g.URL, g.Ref)}, group: groupGit, pos: g.Pos})
	}
	for _, s := range r.Run {
		list = append(list, placed{step: &runStep{s}, group: groupRun, pos: s.Pos})
	}
	rank := map[string]int{}
	for i, f := range r.Files {
		rank[f] = i + 1
	}
	for i := range list {
		list[i].file = rank[list[i].pos.File]
	}
	slices.SortStableFunc(list, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.pos.Line, b.pos.Line), cmp.Compare(a.pos.Column, b.pos.Column))
	})
	out := make([]step, len(list))
	for i, p := range list {
		out[i] = p.step
	}
	return out
}

// inStep says of an error which step it is and where that stands.
func inStep(s step, err error) error {
	return inPart(s.name(), s.at(), err)
}

// inPart says of which part of the recipe an error is, and where that stands unless the error knows a closer place.
func inPart(part string, pos recipes.Position, err error) error {
	var list fault.List
	for _, cause := range fault.All(err) {
		e := *cause
		e.Message, e.Cause = part+": "+e.Message, cause
		if e.File == "" {
			e.File, e.Line, e.Column = pos.File, pos.Line, pos.Column
		}
		list = append(list, &e)
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

// short keeps names of steps to a line that fits a terminal.
func short(text string) string {
	line, rest, more := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimSpace(line)
	runes := []rune(line)
	if len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	if more && strings.TrimSpace(rest) != "" {
		return line + " …"
	}
	return line
}
