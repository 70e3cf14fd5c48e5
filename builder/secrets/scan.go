package secrets

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
)

// Sizes of the window that goes over a file.
const (
	lookBehind = 8 << 10  // what rules see before an anchor: a JSON web key of RSA has all its numbers before its kind
	lookAhead  = 16 << 10 // and after: the base64 of the largest RSA key in use (16,384 bits) has 12 KiB
	windowSize = 512 << 10
	sniffSize  = 8 << 10 // where a zero byte makes a file binary
)

// Scanner finds secrets. It does not change, so that several goroutines may use one.
type Scanner struct {
	text, binary matcher
	files        []fileRule
}

// matcher are the rules for one kind of files.
type matcher struct {
	anchors *automaton
	rules   []rule // by the anchors' values
}

// New makes a scanner.
func New() *Scanner {
	s := &Scanner{files: fileRules()}
	var binary []rule
	rules := allRules()
	for _, r := range rules {
		if !r.textOnly {
			binary = append(binary, r)
		}
	}
	s.text, s.binary = newMatcher(rules), newMatcher(binary)
	return s
}

func newMatcher(rules []rule) matcher {
	var m matcher
	var texts [][]byte
	for _, r := range rules {
		for _, a := range r.anchors {
			texts = append(texts, []byte(strings.ToLower(a)))
			m.rules = append(m.rules, r)
		}
	}
	m.anchors = newAutomaton(texts, true)
	return m
}

// File finds the secrets in a file of the image; path is relative to its root, without a slash before it.
func (s *Scanner) File(path string, r io.Reader) ([]Finding, error) {
	return s.newWindow().file(path, r)
}

// Setting finds secrets in what is no file: a variable, a label. where becomes the findings' path.
func (s *Scanner) Setting(where, name, value string) []Finding {
	w := s.newWindow()
	w.begin(fileInfo{path: where, name: true})
	w.data = append(w.data, name+"="+value...)
	w.search(0, len(w.data))
	list := w.end()
	for i := range list {
		list[i].Path, list[i].Line = where, 0
	}
	return list
}

// window is a piece of a file under search. One serves many files, one after the other.
type window struct {
	s      *Scanner
	buf    []byte
	data   []byte // what is in buf
	info   fileInfo
	m      *matcher
	binary bool
	lines  int // line ends before data
	counted
	found []place
}

// counted saves counting line ends twice.
type counted struct{ upTo, lines int }

// place is a finding in the making.
type place struct {
	rule string
	line int
}

func (s *Scanner) newWindow() *window { return &window{s: s} }

func (w *window) begin(info fileInfo) {
	w.info, w.binary, w.m = info, false, &w.s.text
	w.lines, w.counted, w.found, w.data = 0, counted{}, w.found[:0], nil
}

// file goes over a file piece by piece.
func (w *window) file(name string, r io.Reader) ([]Finding, error) {
	w.begin(fileInfo{path: name, config: settingsNamed(name)})
	if w.buf == nil {
		w.buf = make([]byte, windowSize)
	}
	have, from, first := 0, 0, true
	for {
		n, err := readFull(r, w.buf[have:])
		eof := err != nil
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		have += n
		w.data = w.buf[:have]
		if first {
			w.head()
			first = false
		}
		to := have
		if !eof {
			to = have - lookAhead
		}
		w.search(from, to)
		if eof {
			return w.end(), nil
		}
		from, have = w.advance(to)
	}
}

// readFull fills a buffer; the error is io.EOF when the end came before that.
func readFull(r io.Reader, buf []byte) (int, error) {
	n, err := io.ReadFull(r, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// advance drops what was searched, except what rules may look back at.
func (w *window) advance(to int) (from, have int) {
	drop := max(0, to-lookBehind)
	if !w.binary {
		w.lines += w.lineEnds(drop)
	}
	copy(w.buf, w.data[drop:])
	w.counted = counted{}
	return to - drop, len(w.data) - drop
}

// lineEnds counts the line ends in data before a place.
func (w *window) lineEnds(at int) int {
	if at < w.counted.upTo {
		return bytes.Count(w.data[:at], []byte{'\n'})
	}
	w.counted.lines += bytes.Count(w.data[w.counted.upTo:at], []byte{'\n'})
	w.counted.upTo = at
	return w.counted.lines
}

// head looks at the beginning of a file: whether it is text, and what its name says.
func (w *window) head() {
	if bytes.IndexByte(w.data[:min(len(w.data), sniffSize)], 0) >= 0 {
		w.binary, w.info.binary, w.m = true, true, &w.s.binary
	}
	head := w.data[:min(len(w.data), headSize)]
	for _, f := range w.s.files {
		if !f.named(w.info.path) {
			continue
		}
		if f.whole != nil {
			if f.whole(head) {
				w.found = append(w.found, place{f.id, 0})
			}
			continue
		}
		if line := firstLine(head, f.line); line > 0 {
			w.found = append(w.found, place{f.id, line})
		}
	}
}

// firstLine is the number of the first line that is wanted, 0 for none.
func firstLine(head []byte, wanted func([]byte) bool) int {
	n := 0
	for line := range bytes.Lines(head) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && wanted(line) {
			return n
		}
	}
	return 0
}

// search looks for anchors that begin in data[from:to].
func (w *window) search(from, to int) {
	if from >= to {
		return
	}
	data := w.data
	w.m.anchors.scan(w.m.anchors.start(), data[from:], func(e end, after int) bool {
		after += from
		at := after - e.length
		if at >= to {
			// Anchors are found by where they end: one that is shorter and begins later may still come, none earlier
			// that matters, since those are shorter than what is looked ahead.
			return after < to+maxAnchor
		}
		// Always the same piece, wherever the window is: what is found must not depend on that, nor may a file of nothing but
		// anchors take for ever.
		begin, end := max(0, at-lookBehind), min(len(data), after+lookAhead)
		r := &w.m.rules[e.value]
		if !r.check(&w.info, data[begin:end], at-begin, after-begin) {
			return true
		}
		p := place{rule: r.id}
		if !w.binary {
			p.line = w.lines + w.lineEnds(at) + 1
		}
		w.found = append(w.found, p)
		return true
	})
}

// maxAnchor is more than the length of any anchor.
const maxAnchor = 64

// end gives the findings of the file, one for each rule. A random value under a name does not count where another rule
// knows better what it is.
func (w *window) end() []Finding {
	if len(w.found) == 0 {
		return nil
	}
	better := map[int]bool{}
	for _, p := range w.found {
		if p.rule != assigned {
			better[p.line] = true
		}
	}
	var list []Finding
	for _, p := range w.found {
		if p.rule == assigned && better[p.line] && p.line > 0 {
			continue
		}
		i := slices.IndexFunc(list, func(f Finding) bool { return f.Rule == p.rule })
		if i < 0 {
			list = append(list, Finding{Rule: p.rule, Path: "/" + w.info.path, Line: p.line, Count: 1})
			continue
		}
		list[i].Count++
		list[i].Line = min(list[i].Line, p.line)
	}
	return list
}
