package sqlcheck

// runs looks at text that a file runs by itself: blocks of PL/pgSQL, prepared and computed statements.
func (c *checker) runs(p *cursor, at int, verb string) {
	switch {
	case c.dialect == Postgres && verb == "DO":
		c.block(p, at)
	case c.dialect == MySQL && verb == "PREPARE":
		p.name()
		if p.take("FROM") {
			c.computed(p, at)
		}
	case c.dialect == MySQL && verb == "EXECUTE" && p.take("IMMEDIATE"):
		c.computed(p, at)
	}
}

// block looks at the statements of DO.
func (c *checker) block(p *cursor, at int) {
	other := false
	var body token
	for ; p.more(); p.i++ {
		switch t := p.peek(); {
		case t.kind == literal:
			body = t
		case p.is("LANGUAGE"):
			p.i++
			other = !p.is("plpgsql") && p.peek().text != "plpgsql"
		}
	}
	if other || body.body == 0 {
		c.report(at, Dynamic, "write it in PL/pgSQL between $$ and $$, or as statements of the file", "what DO runs here is not checked")
		return
	}
	for _, s := range split(c.src, body.body, body.body+len(body.text), c.dialect, c.report) {
		c.inBlock(s.tokens)
	}
}

// inBlock finds the statement in a piece of PL/pgSQL that ends with a semicolon: it stands at its beginning, or after the words
// that open a part.
func (c *checker) inBlock(tokens []token) {
	depth := 0
	start := true
	for i, t := range tokens {
		switch {
		case t.symbol("("):
			depth++
		case t.symbol(")"):
			depth--
		case depth == 0 && start && t.is("EXECUTE"):
			p := &cursor{tokens: tokens[i+1:], dialect: c.dialect}
			c.computed(p, t.at)
			return
		case depth == 0 && start && isVerb(t):
			c.statement(tokens[i:])
			return
		}
		start = t.is("BEGIN") || t.is("THEN") || t.is("ELSE") || t.is("LOOP")
	}
}

func isVerb(t token) bool {
	for _, w := range []string{"CREATE", "ALTER", "DROP", "TRUNCATE", "REVOKE", "UPDATE", "DELETE", "LOCK", "REFRESH", "REINDEX"} {
		if t.is(w) {
			return true
		}
	}
	return false
}

// computed looks at a statement in a string; one that is made at run time cannot be looked at.
func (c *checker) computed(p *cursor, at int) {
	t := p.peek()
	p.i++
	if t.kind != literal || p.more() && !p.is("USING") && !p.is("INTO") {
		c.report(at, Dynamic, "write the statement into the file", "the statement is made when it runs, and is not checked")
		return
	}
	inner := &checker{dialect: c.dialect, src: t.text, created: c.created, columns: c.columns}
	for _, l := range inner.file() {
		l.at = t.at
		c.found = append(c.found, l)
	}
}
