package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// fileEntryStep puts one file into the image: of the project or of the recipe's own text, as it is or filled from vars.
type fileEntryStep struct{ recipes.File }

func (f *fileEntryStep) name() string         { return short("files " + f.To) }
func (f *fileEntryStep) at() recipes.Position { return f.Pos }

// maxTemplate bounds a template and what it makes, in bytes.
const maxTemplate = 16 << 20

func (f *fileEntryStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	if f.Source != "" && !f.Template {
		// As with copy, a file that did not change is not read.
		c := recipes.Copy{From: f.From, Source: f.Source, To: f.To, Owner: f.Owner, Mode: f.Mode, Dir: f.Dir, Pos: f.Pos}
		return (&copyStep{Copy: c, label: f.name()}).make(ctx, b, st)
	}
	content, disk, err := f.content(b.vars)
	if err != nil {
		return outcome{}, err
	}
	sum := sha256.Sum256(content)
	one := file{rel: ".", kind: images.File, mode: copyMode(images.File, disk, f.Mode), size: int64(len(content)),
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
	s := fileStep{name: f.name(), to: []string{f.To}, owner: f.Owner, inputs: keyOf("file", hex.EncodeToString(sum[:]), one.mode)}
	s.files = func(context.Context) ([][]file, error) { return [][]file{{one}}, nil }
	return s.make(ctx, b, st)
}

// content is what the file holds, and the mode of its source on disk.
func (f *fileEntryStep) content(vars map[string]string) ([]byte, os.FileMode, error) {
	if f.Source == "" {
		if !f.Template {
			return []byte(f.Content), 0, nil
		}
		out, err := f.fill([]byte(f.Content), vars)
		return out, 0, err
	}
	fi, err := os.Stat(f.Source)
	if err != nil {
		return nil, 0, unreadable(f.Source, err)
	}
	if fi.Size() > maxTemplate {
		return nil, 0, fault.New(fault.Invalid, "template %s has %d bytes, a template may have %d", f.shown(), fi.Size(), maxTemplate)
	}
	text, err := os.ReadFile(f.Source)
	if err != nil {
		return nil, 0, unreadable(f.Source, err)
	}
	out, err := f.fill(text, vars)
	return out, fi.Mode(), err
}

// shown is the template's file as the user would name it.
func (f *fileEntryStep) shown() string {
	return filepath.Join(filepath.Dir(f.Pos.File), filepath.FromSlash(f.From))
}

// fill makes the file of a template. Errors are at their place in the template and name the entry of the recipe.
func (f *fileEntryStep) fill(text []byte, vars map[string]string) ([]byte, error) {
	out, err := fillTemplate(string(text), vars)
	if err == nil {
		return out, nil
	}
	e := fault.New(fault.Invalid, "%s (files entry at %s:%d)", err.text, f.Pos.File, f.Pos.Line)
	if err.hint != "" {
		e = e.WithHint("%s", err.hint)
	}
	if f.Source != "" {
		return nil, e.At(f.shown(), err.line, err.column)
	}
	pos, exact := f.inRecipe(err.line, err.column)
	if !exact {
		e.Message = fmt.Sprintf("line %d of its content: %s", err.line, e.Message)
	}
	return nil, e.At(pos.File, pos.Line, pos.Column)
}

// inRecipe is the place of a line of the content in the recipe. It is known when the content is a block of lines.
func (f *fileEntryStep) inRecipe(line, column int) (pos recipes.Position, exact bool) {
	pos = f.TextPos
	text, err := os.ReadFile(pos.File)
	if err != nil {
		return pos, false
	}
	lines := bytes.Split(text, []byte("\n"))
	content := bytes.SplitN([]byte(f.Content), []byte("\n"), line+1)
	if len(content) < line {
		return pos, false
	}
	// The block begins in the line below its sign, or at the text itself, as the reader of YAML has it.
	for _, at := range []int{pos.Line + line, pos.Line + line - 1} {
		if at > len(lines) || len(content[line-1]) == 0 {
			continue
		}
		indented := lines[at-1]
		if i := len(indented) - len(content[line-1]); i > 0 && len(bytes.TrimLeft(indented[:i], " ")) == 0 && bytes.HasSuffix(indented, content[line-1]) {
			pos.Line, pos.Column = at, i+max(column, 1)
			return pos, true
		}
	}
	return pos, false
}
