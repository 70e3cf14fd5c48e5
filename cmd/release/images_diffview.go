package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/bootandshoot/release/images/diff"
	"github.com/bootandshoot/release/internal/human"
)

// diffView shows a comparison to people: first in a few lines, then by section.
type diffView struct {
	out   *output
	all   bool      // every file
	names [2]string // as the images were asked for
}

// fewFiles is how many files are listed without --files.
const fewFiles = 40

func (v diffView) write(w io.Writer, r diff.Result) {
	v.summary(w, r)
	if len(r.Packages) > 0 {
		v.section(w, "Packages", v.packages(r.Packages))
	}
	if lines := v.files(r.Files); len(lines) > 0 {
		v.section(w, "Files", lines)
	}
	if len(r.Config) > 0 {
		v.section(w, "Configuration", v.settings(r.Config))
	}
	for _, s := range []struct {
		title string
		items []diff.Item
	}{{"Services", r.Services}, {"Extensions", r.Extensions}, {"Components", r.Components}} {
		if len(s.items) > 0 {
			v.section(w, s.title, v.items(s.items))
		}
	}
	if r.A.Image != r.B.Image {
		v.section(w, "Layers", v.layers(r.Layers))
	}
}

func (v diffView) section(w io.Writer, title string, lines []string) {
	fmt.Fprintf(w, "\n%s\n%s\n", v.out.bold(title), strings.Join(lines, "\n"))
}

func (v diffView) summary(w io.Writer, r diff.Result) {
	fmt.Fprintf(w, "%s → %s\n", v.name(0, r.A), v.name(1, r.B))
	if r.A.Image == r.B.Image {
		fmt.Fprintln(w, "  the same image")
		return
	}
	if r.Same {
		fmt.Fprintln(w, "  nothing differs but how the layers are cut")
	}
	s := r.Summary
	var t table
	row := func(name, text string) { t.row(plain(name), plain(text)) }
	if s.Packages != (diff.Counts{}) {
		row("packages", counts(s.Packages))
	}
	if s.Files != (diff.Counts{}) {
		row("files", counts(s.Files)+", "+signed(s.FileBytes))
	}
	for _, n := range []struct {
		name  string
		count int
	}{{"settings", len(r.Config)}, {"services", len(r.Services)}, {"extensions", len(r.Extensions)}, {"components", len(r.Components)}} {
		if n.count > 0 {
			row(n.name, fmt.Sprintf("%d differ", n.count))
		}
	}
	row("size", fmt.Sprintf("%s → %s, %s shared, %s to move", size(r.A.Size), size(r.B.Size), size(s.SharedBytes), size(s.OwnBytesB)))
	fmt.Fprintln(w, strings.Join(t.lines("  "), "\n"))
}

func (v diffView) name(i int, s diff.Side) string {
	short := shortDigest(s.Image)
	if given := v.names[i]; !strings.HasPrefix(short, strings.TrimPrefix(given, "sha256:")) && !strings.HasPrefix(given, "sha256:") {
		return v.out.bold(given) + " (" + short + ")"
	}
	return v.out.bold(short)
}

func counts(c diff.Counts) string {
	var parts []string
	for _, p := range []struct {
		n    int
		word string
	}{{c.Added, "added"}, {c.Removed, "removed"}, {c.Changed, "changed"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	return strings.Join(parts, ", ")
}

// signed is an amount of bytes by which something grew.
func signed(n int64) string {
	if n < 0 {
		return "-" + size(-n)
	}
	return "+" + size(n)
}

// mark is the sign of a change, in its colour.
func (v diffView) mark(c diff.Change) cell {
	switch c {
	case diff.Added:
		return cell{"+", v.out.green("+")}
	case diff.Removed:
		return cell{"-", v.out.red("-")}
	case diff.Upgraded:
		return cell{"↑", v.out.green("↑")}
	case diff.Downgraded:
		return cell{"↓", v.out.yellow("↓")}
	}
	return cell{"~", v.out.yellow("~")}
}

func (v diffView) packages(list []diff.Package) []string {
	var t table
	for _, p := range list {
		files := ""
		if p.Files > 0 {
			files = fmt.Sprintf("%s, %s", human.Count(p.Files, "file"), signed(p.Bytes))
		}
		t.row(v.mark(p.Change), plain(p.Name), plain(arrow(p.From, p.To)), plain(files))
	}
	return t.lines("  ")
}

func arrow(from, to string) string {
	switch {
	case from == "":
		return to
	case to == "":
		return from
	}
	return from + " → " + to
}

func (v diffView) settings(list []diff.Setting) []string {
	var t table
	for _, s := range list {
		from, to := s.From, s.To
		if s.Change == diff.Changed {
			from, to = quoteEmpty(from), quoteEmpty(to)
		}
		t.row(v.mark(s.Change), plain(s.Key), plain(arrow(from, to)))
	}
	return t.lines("  ")
}

func quoteEmpty(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

func (v diffView) items(list []diff.Item) []string {
	var t table
	for _, i := range list {
		t.row(v.mark(i.Change), plain(i.Name), plain(arrow(i.From, i.To)))
	}
	return t.lines("  ")
}

func (v diffView) layers(list []diff.Layer) []string {
	var t table
	for _, l := range list {
		mark, in := plain(" "), "shared"
		switch l.In {
		case "a":
			mark, in = v.mark(diff.Removed), "own"
		case "b":
			mark, in = v.mark(diff.Added), "own"
		}
		t.row(mark, plain(shortDigest(l.Digest)), plain(size(l.Size)), plain(in), plain(firstLine(l.CreatedBy)))
	}
	return t.lines("  ")
}

func firstLine(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if r := []rune(line); len(r) > 60 {
		line, more = string(r[:60]), true
	}
	if more {
		line += "…"
	}
	return line
}

// files lists the files that belong to no changed package; a whole folder that came or went is one line.
func (v diffView) files(list []diff.File) []string {
	var t table
	left := 0
	for i := 0; i < len(list); i++ {
		f := list[i]
		if v.all {
			t.row(v.mark(f.Change), plain(f.Path), plain(fileText(f)), plain(f.Package))
			continue
		}
		if f.Package != "" {
			continue
		}
		n, bytes := 0, int64(0)
		if whole := folderOf(f); whole != "" {
			n, bytes = below(list[i+1:], f, whole)
		}
		i += n
		if len(t.rows) >= fewFiles {
			left++
			continue
		}
		text := fileText(f)
		if n > 0 {
			text = fmt.Sprintf("folder with %s, %s", human.Count(n, "name"), size(bytes))
		}
		t.row(v.mark(f.Change), plain(f.Path), plain(text))
	}
	lines := t.lines("  ")
	if left > 0 {
		lines = append(lines, v.out.dim(fmt.Sprintf("  and %d more: --files lists all", left)))
	}
	return lines
}

// folderOf is how the paths below a folder begin that was added or removed as a whole.
func folderOf(f diff.File) string {
	state := f.To
	if f.Change == diff.Removed {
		state = f.From
	}
	if f.Change == diff.Changed || state.Type != "folder" || f.Path == "/" {
		return ""
	}
	return f.Path + "/"
}

// below counts what follows of a folder that came or went, up to something that belongs to a package.
func below(list []diff.File, folder diff.File, prefix string) (n int, bytes int64) {
	for _, f := range list {
		if !strings.HasPrefix(f.Path, prefix) || f.Change != folder.Change || f.Package != "" {
			break
		}
		n++
		for _, s := range []*diff.FileState{f.From, f.To} {
			if s != nil {
				bytes += s.Size
			}
		}
	}
	return n, bytes
}

// fileText says what a file is, or what of it changed.
func fileText(f diff.File) string {
	if f.Change == diff.Changed {
		var parts []string
		for _, what := range f.What {
			parts = append(parts, changeText(what, f.From, f.To))
		}
		return strings.Join(parts, ", ")
	}
	s := f.To
	if f.Change == diff.Removed {
		s = f.From
	}
	switch s.Type {
	case "file":
		return size(s.Size)
	case "link":
		return "link to " + s.Link
	case "device":
		return "device " + s.Device
	}
	return s.Type
}

func changeText(what string, from, to *diff.FileState) string {
	switch what {
	case "type":
		return from.Type + " → " + to.Type
	case "content":
		if from.Size == to.Size {
			return "content, " + size(to.Size)
		}
		return "content, " + size(from.Size) + " → " + size(to.Size)
	case "mode":
		return "mode " + from.Mode + " → " + to.Mode
	case "owner":
		return fmt.Sprintf("owner %d:%d → %d:%d", from.UID, from.GID, to.UID, to.GID)
	case "link":
		return "link to " + from.Link + " → " + to.Link
	case "device":
		return "device " + from.Device + " → " + to.Device
	}
	return "extended attributes"
}
