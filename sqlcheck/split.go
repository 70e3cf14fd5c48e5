package sqlcheck

import "strings"

// statement is the tokens of one statement, without comments and the delimiter, and what comments accept in it.
type statement struct {
	tokens  []token
	accepts []*acceptance
}

// splitter cuts a file into statements.
type splitter struct {
	scan    scanner
	found   func(at int, r Rule, instead, format string, args ...any)
	all     []*statement
	now     *statement // under way; nil between statements
	last    int        // where the one before ended
	pending []*acceptance
	parens  []int // where those that are open were opened
	blocks  int   // BEGIN … END that are open
	closed  bool  // the token before was an END that was counted
	skip    bool  // within a part for the way back
}

// split cuts a file into statements. Positions start at base, for text that stands within a file.
func split(src string, base, length int, d Dialect, found func(int, Rule, string, string, ...any)) []*statement {
	s := &splitter{scan: scanner{src: src[:length], pos: base, dialect: d, delimiter: ";"}, found: found, last: base}
	for s.step() {
	}
	if len(s.parens) > 0 {
		s.found(s.parens[0], Unreadable, "close it", "the parenthesis is not closed, so that the statement has no end")
	}
	s.finish()
	for _, a := range s.pending {
		s.all = append(s.all, &statement{accepts: []*acceptance{a}})
	}
	return s.all
}

// step takes one token; false at the end of the file.
func (s *splitter) step() bool {
	if s.now == nil && s.clientLine() {
		return true
	}
	t, ok := s.scan.next()
	if !ok {
		return false
	}
	switch t.kind {
	case comment:
		s.comment(t)
	case command:
		s.command(t)
	case broken:
		s.found(t.at, Unreadable, "end it", "%s", t.text)
	case end:
		if len(s.parens) > 0 || s.blocks > 0 && s.scan.delimiter == ";" {
			s.add(token{kind: symbol, text: t.text, at: t.at})
			break
		}
		ended := s.now
		s.finish()
		s.last = t.at
		s.copyData(ended)
	default:
		s.add(t)
		s.nest(t)
	}
	return true
}

// clientLine takes a whole line that is for the client mysql, which needs no delimiter.
func (s *splitter) clientLine() bool {
	if s.scan.dialect != MySQL {
		return false
	}
	s.scan.space()
	rest := s.scan.src[s.scan.pos:]
	line := rest[:lineLength(rest)]
	first, arg, _ := strings.Cut(strings.TrimRight(line, "\r"), " ")
	switch strings.ToUpper(first) {
	case "DELIMITER":
		if arg = strings.TrimSpace(arg); arg != "" {
			s.scan.delimiter = strings.Fields(arg)[0]
		}
	case "SOURCE":
		s.found(s.scan.pos, Dynamic, "give that file to migrations.sql", "what source brings in is not checked")
	default:
		return false
	}
	s.scan.pos += len(line)
	return true
}

func (s *splitter) add(t token) {
	if s.now == nil {
		s.now = &statement{accepts: s.pending}
		s.pending = nil
	}
	s.now.tokens = append(s.now.tokens, t)
}

// finish ends the statement under way.
func (s *splitter) finish() {
	if s.now != nil && !s.skip {
		s.all = append(s.all, s.now)
	}
	s.now, s.parens, s.blocks = nil, nil, 0
}

// nest counts what delimiters do not end a statement in: parentheses, and bodies of stored programs.
func (s *splitter) nest(t token) {
	closed := s.closed
	s.closed = false
	switch {
	case t.symbol("("):
		s.parens = append(s.parens, t.at)
	case t.symbol(")") && len(s.parens) > 0:
		s.parens = s.parens[:len(s.parens)-1]
	case t.kind != word || len(s.parens) > 0 || !s.now.program(s.scan.dialect):
	case t.is("BEGIN"), t.is("CASE") && s.blocks > 0 && !closed:
		s.blocks++
	case t.is("END") && s.blocks > 0:
		s.blocks--
		s.closed = true
	case closed && (t.is("IF") || t.is("LOOP") || t.is("WHILE") || t.is("REPEAT")):
		s.blocks++ // the beginning of what it ended was not counted
	}
}

// program says whether the statement makes a stored program, whose body may hold statements. psql counts BEGIN and END only in those too.
func (s *statement) program(d Dialect) bool {
	c := cursor{tokens: s.tokens}
	if !c.take("CREATE") {
		return false
	}
	c.take("OR", "REPLACE")
	if d == Postgres {
		return c.is("FUNCTION") || c.is("PROCEDURE")
	}
	for range 8 { // DEFINER = 'somebody'@'somewhere', AGGREGATE
		if c.is("PROCEDURE") || c.is("FUNCTION") || c.is("TRIGGER") || c.is("EVENT") {
			return true
		}
		c.i++
	}
	return false
}

// comment takes what a comment accepts, and where parts of the file begin that are for the way back.
func (s *splitter) comment(t token) {
	text := strings.Join(strings.Fields(t.text), " ")
	switch {
	case strings.HasPrefix(text, "+goose Down"), strings.HasPrefix(text, "+migrate Down"), strings.HasPrefix(text, "migrate:down"):
		s.finish()
		s.skip = true
	case strings.HasPrefix(text, "+goose Up"), strings.HasPrefix(text, "+migrate Up"), strings.HasPrefix(text, "migrate:up"):
		s.finish()
		s.skip = false
	}
	a := accepting(t, text)
	switch {
	case a == nil || s.skip:
	case s.now != nil:
		s.now.accepts = append(s.now.accepts, a)
	case len(s.all) > 0 && !strings.Contains(s.scan.src[s.last:t.at], "\n"):
		before := s.all[len(s.all)-1]
		before.accepts = append(before.accepts, a)
	default:
		s.pending = append(s.pending, a)
	}
}

// command takes a line of psql. \g and its like end a statement, \i brings in another file.
func (s *splitter) command(t token) {
	name := strings.TrimSpace(t.text)
	switch {
	case s.skip:
	case strings.HasPrefix(name, `\gexec`):
		s.found(t.at, Dynamic, "write the statements into the file", "what %s runs is not checked", `\gexec`)
	case strings.HasPrefix(name, `\i`) && !strings.HasPrefix(name, `\if`):
		s.found(t.at, Dynamic, "give that file to migrations.sql", "what %s brings in is not checked", strings.Fields(name)[0])
	}
	if strings.HasPrefix(name, `\g`) {
		s.finish()
		s.last = t.at
	}
}

// copyData passes over the rows that follow COPY … FROM stdin, which end with \. on a line.
func (s *splitter) copyData(ended *statement) {
	if s.scan.dialect != Postgres || ended == nil || !ended.copies() {
		return
	}
	for s.scan.pos < len(s.scan.src) {
		rest := s.scan.src[s.scan.pos:]
		line := rest[:lineLength(rest)]
		s.scan.pos = min(s.scan.pos+len(line)+1, len(s.scan.src))
		if strings.TrimRight(line, "\r") == `\.` {
			return
		}
	}
}

// copies says whether a statement is COPY … FROM stdin.
func (s *statement) copies() bool {
	c := cursor{tokens: s.tokens}
	if !c.take("COPY") {
		return false
	}
	for ; c.i < len(c.tokens); c.i++ {
		if c.is("FROM", "STDIN") {
			return true
		}
	}
	return false
}
