package sqlcheck

import (
	"strings"
	"unicode/utf8"
)

type kind int

const (
	word    kind = iota // a name or keyword without quotes
	quoted              // a name in quotes; text is without them
	literal             // a string; text is what it holds
	number
	symbol  // any other character
	end     // of a statement
	comment // text is without its marks
	command // of the client program, to the end of its line
	broken  // text says what has no end
)

// token is a piece of a file.
type token struct {
	kind kind
	text string
	at   int // where it begins, in bytes from the beginning of the file
	body int // literal in dollar quotes: where what it holds begins; else 0
}

// is says whether the token is a word, in any case.
func (t token) is(w string) bool { return t.kind == word && strings.EqualFold(t.text, w) }

func (t token) symbol(s string) bool { return t.kind == symbol && t.text == s }

// scanner cuts SQL text into tokens.
type scanner struct {
	src         string
	pos         int
	dialect     Dialect
	delimiter   string // of statements
	conditional bool   // within an executable comment of MySQL
}

// next is the next token; false at the end.
func (s *scanner) next() (token, bool) {
	s.space()
	if s.pos >= len(s.src) {
		return token{}, false
	}
	rest := s.src[s.pos:]
	if strings.HasPrefix(rest, s.delimiter) {
		return s.take(end, len(s.delimiter)), true
	}
	if t, ok := s.comment(rest); ok {
		return t, true
	}
	switch c := rest[0]; {
	case c == '\'':
		return s.quoted(literal, 0, s.dialect == MySQL), true
	case c == '"' && s.dialect == MySQL:
		return s.quoted(literal, 0, true), true
	case c == '"', c == '`' && s.dialect == MySQL:
		return s.quoted(quoted, 0, false), true
	case c == '$' && s.dialect == Postgres:
		return s.dollar(rest), true
	case c == '\\' && s.dialect == Postgres:
		return s.take(command, lineLength(rest)), true
	case letter(c):
		return s.word(rest), true
	case digit(c):
		return s.take(number, span(rest, func(c byte) bool { return digit(c) || letter(c) || c == '.' })), true
	}
	_, size := utf8.DecodeRuneInString(rest)
	return s.take(symbol, size), true
}

// space passes over blanks, and over the marks of executable comments.
func (s *scanner) space() {
	for s.pos < len(s.src) {
		rest := s.src[s.pos:]
		switch {
		case strings.IndexByte(" \t\r\n\f\v", rest[0]) >= 0:
			s.pos++
		case s.conditional && strings.HasPrefix(rest, "*/"):
			s.pos, s.conditional = s.pos+2, false
		case s.dialect == MySQL && strings.HasPrefix(rest, "/*!"):
			s.pos, s.conditional = s.pos+3+span(rest[3:], digit), true
		case s.dialect == MySQL && strings.HasPrefix(rest, "/*M!"):
			s.pos, s.conditional = s.pos+4+span(rest[4:], digit), true
		default:
			return
		}
	}
}

// take makes a token of the next bytes as they are.
func (s *scanner) take(k kind, size int) token {
	t := token{kind: k, text: s.src[s.pos : s.pos+size], at: s.pos}
	s.pos += size
	return t
}

func (s *scanner) comment(rest string) (token, bool) {
	dashes := strings.HasPrefix(rest, "--") && (s.dialect == Postgres || len(rest) == 2 || rest[2] <= ' ')
	switch {
	case dashes:
		t := s.take(comment, lineLength(rest))
		t.text = t.text[2:]
		return t, true
	case s.dialect == MySQL && rest[0] == '#':
		t := s.take(comment, lineLength(rest))
		t.text = t.text[1:]
		return t, true
	case strings.HasPrefix(rest, "/*"):
		size, ok := blockLength(rest, s.dialect == Postgres)
		if !ok {
			return s.unended("the comment", len(rest)), true
		}
		t := s.take(comment, size)
		t.text = t.text[2 : size-2]
		return t, true
	}
	return token{}, false
}

// blockLength is the length of a comment in /* */, which may hold others if they nest.
func blockLength(text string, nests bool) (int, bool) {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch {
		case text[i] == '*' && text[i+1] == '/':
			depth--
			if i++; depth == 0 {
				return i + 1, true
			}
		case text[i] == '/' && text[i+1] == '*' && (nests || depth == 0):
			depth++
			i++
		}
	}
	return 0, false
}

func (s *scanner) unended(what string, size int) token {
	t := s.take(broken, size)
	t.text = what + " has no end"
	return t
}

// quoted reads what is in quotes that begin after a prefix; a doubled quote stands for itself.
func (s *scanner) quoted(k kind, prefix int, escapes bool) token {
	rest := s.src[s.pos:]
	quote := rest[prefix]
	var text strings.Builder
	for i := prefix + 1; i < len(rest); i++ {
		switch {
		case escapes && rest[i] == '\\' && i+1 < len(rest):
			i++
			text.WriteByte(rest[i])
		case rest[i] != quote:
			text.WriteByte(rest[i])
		case i+1 < len(rest) && rest[i+1] == quote:
			i++
			text.WriteByte(quote)
		default:
			t := s.take(k, i+1)
			t.text = text.String()
			return t
		}
	}
	return s.unended("what begins with "+string(quote), len(rest))
}

// dollar reads $tag$…$tag$, $1, or the sign alone.
func (s *scanner) dollar(rest string) token {
	size := 1 + span(rest[1:], func(c byte) bool { return letter(c) || digit(c) })
	if size >= len(rest) || rest[size] != '$' || size > 1 && digit(rest[1]) {
		return s.take(symbol, size)
	}
	tag := rest[:size+1]
	length := strings.Index(rest[len(tag):], tag)
	if length < 0 {
		return s.unended("what begins with "+tag, len(rest))
	}
	t := s.take(literal, length+2*len(tag))
	t.text, t.body = t.text[len(tag):len(tag)+length], t.at+len(tag)
	return t
}

// word reads a name, or a string with a letter before it.
func (s *scanner) word(rest string) token {
	size := span(rest, func(c byte) bool { return letter(c) || digit(c) || c == '$' })
	name := strings.ToUpper(rest[:size])
	next := func(i int) byte {
		if i < len(rest) {
			return rest[i]
		}
		return 0
	}
	switch {
	case next(size) == '\'' && name == "E" && s.dialect == Postgres:
		return s.quoted(literal, size, true)
	case next(size) == '\'' && (name == "B" || name == "X" || name == "N" || s.dialect == MySQL && name[0] == '_'):
		return s.quoted(literal, size, s.dialect == MySQL)
	case name == "U" && next(size) == '&' && next(size+1) == '\'' && s.dialect == Postgres:
		return s.quoted(literal, size+1, false)
	case name == "U" && next(size) == '&' && next(size+1) == '"' && s.dialect == Postgres:
		return s.quoted(quoted, size+1, false)
	}
	return s.take(word, size)
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// span is how many bytes at the beginning of a text are of a kind.
func span(text string, of func(byte) bool) int {
	n := 0
	for n < len(text) && of(text[n]) {
		n++
	}
	return n
}

func lineLength(text string) int {
	if n := strings.IndexByte(text, '\n'); n >= 0 {
		return n
	}
	return len(text)
}
