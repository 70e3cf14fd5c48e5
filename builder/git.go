package builder

import (
	"context"
	"regexp"

	"github.com/bootandshoot/release/recipes"
)

// gitStep puts a commit's files into the image, as they are in the repository: no filters, no line ends changed.
type gitStep struct {
	recipes.Git
	pin   *recipes.LockedGit
	label string // of an extension; "" for one of git
	owner string // "" is root:root
}

func (g *gitStep) name() string {
	if g.label != "" {
		return g.label
	}
	return short("git " + g.URL + " at " + g.Ref)
}

func (g *gitStep) at() recipes.Position { return g.Pos }

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// pinGit pins a ref to the commit that it is now.
func (b *bake) pinGit(ctx context.Context, g recipes.Git, pin *recipes.LockedGit) (recipes.LockedGit, error) {
	if pin != nil && commitPattern.MatchString(pin.Commit) {
		return *pin, nil
	}
	return b.resolveGit(ctx, &gitStep{Git: g})
}

// resolveGit asks which commit a step's ref is now.
func (b *bake) resolveGit(ctx context.Context, g *gitStep) (recipes.LockedGit, error) {
	r, err := b.openRepository(ctx, g.URL, g.name())
	if err != nil {
		return recipes.LockedGit{}, inStep(g, err)
	}
	defer r.close()
	commit, date, err := r.resolve(ctx, g.Ref)
	if err != nil {
		return recipes.LockedGit{}, inStep(g, err)
	}
	return recipes.LockedGit{URL: g.URL, Ref: g.Ref, Commit: commit, Date: date}, nil
}

func (g *gitStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	var reader *blobReader
	defer func() {
		if reader != nil {
			reader.close()
		}
	}()
	s := fileStep{name: g.name(), to: []string{g.To}, owner: g.owner, inputs: keyOf("git", g.pin.Commit)}
	s.files = func(ctx context.Context) ([][]file, error) {
		r, err := b.openRepository(ctx, g.URL, g.name())
		if err != nil {
			return nil, err
		}
		defer r.close()
		if err := r.bring(ctx, g.pin.Commit, g.Ref); err != nil {
			return nil, err
		}
		if reader, err = r.blobs(ctx); err != nil {
			return nil, err
		}
		list, err := r.list(ctx, g.pin.Commit, reader)
		return [][]file{list}, err
	}
	return s.make(ctx, b, st)
}
