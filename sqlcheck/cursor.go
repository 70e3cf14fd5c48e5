package sqlcheck

import "strings"

// cursor reads the tokens of a statement, or of a part of one.
type cursor struct {
	tokens  []token
	i       int
	dialect Dialect
}

func (c *cursor) more() bool { return c.i < len(c.tokens) }

// peek is the next token; an empty symbol at the end.
func (c *cursor) peek() token {
	if c.more() {
		return c.tokens[c.i]
	}
	return token{kind: symbol}
}

// is says whether the next tokens are these words.
func (c *cursor) is(words ...string) bool {
	for n, w := range words {
		if c.i+n >= len(c.tokens) || !c.tokens[c.i+n].is(w) {
			return false
		}
	}
	return true
}

// take passes over these words if they are next.
func (c *cursor) take(words ...string) bool {
	if !c.is(words...) {
		return false
	}
	c.i += len(words)
	return true
}

// any passes over one of these words if it is next, and gives it.
func (c *cursor) any(words ...string) string {
	for _, w := range words {
		if c.take(w) {
			return w
		}
	}
	return ""
}

func (c *cursor) symbol(s string) bool {
	if !c.peek().symbol(s) {
		return false
	}
	c.i++
	return true
}

// maybe passes over IF [NOT] EXISTS.
func (c *cursor) maybe() {
	if !c.take("IF", "EXISTS") {
		c.take("IF", "NOT", "EXISTS")
	}
}

// name reads a name, with what qualifies it. PostgreSQL's own schema is left out; what is not quoted is in lower case.
func (c *cursor) name() string {
	var parts []string
	for c.more() {
		t := c.peek()
		switch {
		case t.kind == quoted && c.dialect == Postgres:
			parts = append(parts, t.text)
		case t.kind == word || t.kind == quoted:
			parts = append(parts, strings.ToLower(t.text))
		default:
			return joined(parts, c.dialect)
		}
		c.i++
		if !c.symbol(".") {
			break
		}
	}
	return joined(parts, c.dialect)
}

func joined(parts []string, d Dialect) string {
	if d == Postgres && len(parts) > 1 && parts[0] == "public" {
		parts = parts[1:]
	}
	return strings.Join(parts, ".")
}

// parens reads what is in the parentheses that are next; false if there are none.
func (c *cursor) parens() (cursor, bool) {
	if !c.peek().symbol("(") {
		return cursor{}, false
	}
	from, depth := c.i+1, 0
	for c.more() {
		t := c.peek()
		c.i++
		switch {
		case t.symbol("("):
			depth++
		case t.symbol(")"):
			if depth--; depth == 0 {
				return cursor{tokens: c.tokens[from : c.i-1], dialect: c.dialect}, true
			}
		}
	}
	return cursor{tokens: c.tokens[from:], dialect: c.dialect}, true
}

// parts is the rest, cut at its commas.
func (c *cursor) parts() []cursor {
	var parts []cursor
	from, depth := c.i, 0
	cut := func(to int) {
		if to > from {
			parts = append(parts, cursor{tokens: c.tokens[from:to], dialect: c.dialect})
		}
		from = to + 1
	}
	for i := c.i; i < len(c.tokens); i++ {
		switch t := c.tokens[i]; {
		case t.symbol("("), t.symbol("["):
			depth++
		case t.symbol(")"), t.symbol("]"):
			depth--
		case t.symbol(",") && depth == 0:
			cut(i)
		}
	}
	cut(len(c.tokens))
	return parts
}

// has says whether the rest has these words in a row, outside of parentheses.
func (c *cursor) has(words ...string) bool {
	depth := 0
	for look := *c; look.more(); look.i++ {
		switch t := look.peek(); {
		case t.symbol("("):
			depth++
		case t.symbol(")"):
			depth--
		case depth == 0 && look.is(words...):
			return true
		}
	}
	return false
}
