package sqlcheck

import "strings"

const (
	renameInstead = "add the new name beside the old one, let the next release use it, and take the old one away in the contract phase"
	dropInstead   = "let a release that does not use it run first, and drop it in the contract phase"
	rowsInstead   = "change some thousand rows at a time, each time in a transaction of its own"
)

// drop looks at DROP of whole objects.
func (c *checker) drop(p *cursor, at int) {
	p.take("TEMPORARY")
	what := c.object(p)
	if what == "" {
		return
	}
	concurrently := p.take("CONCURRENTLY")
	p.maybe()
	for _, part := range p.parts() {
		name := part.name()
		switch {
		case c.isNew(name):
			delete(c.created, name)
		case what == "index" && c.dialect == MySQL, what == "index" && concurrently:
		case what == "index":
			c.report(at, CreateIndex, "drop index concurrently, outside of a transaction", "dropping index %s waits for all that use its table, and keeps everybody else waiting meanwhile", name)
		default:
			c.report(at, Drop, dropInstead, "the running release may use %s %s", what, name)
		}
		delete(c.columns, name)
		if part.more() && part.peek().symbol("(") {
			return // the arguments of a function: what follows is no name
		}
	}
}

// object reads what kind of thing a statement is about; "" for those that no release can miss.
func (c *checker) object(p *cursor) string {
	switch {
	case p.take("MATERIALIZED", "VIEW"):
		return "materialized view"
	case p.take("FOREIGN", "TABLE"):
		return "table"
	case p.take("TABLES"):
		return "table"
	}
	return strings.ToLower(p.any("TABLE", "VIEW", "SCHEMA", "DATABASE", "SEQUENCE", "TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "ROUTINE",
		"INDEX", "EXTENSION"))
}

func (c *checker) truncate(p *cursor, at int) {
	p.take("TABLE")
	p.take("ONLY")
	for _, part := range p.parts() {
		if name := part.name(); !c.isNew(name) {
			c.report(at, Truncate, "delete what is not needed in the contract phase", "the running release loses the rows of %s", name)
		}
	}
}

// everyRow looks for changes of all rows of a table in one statement.
func (c *checker) everyRow(p *cursor, at int, verb string) {
	p.any("LOW_PRIORITY", "QUICK")
	p.take("IGNORE")
	p.take("FROM")
	p.take("ONLY")
	name := p.name()
	if c.isNew(name) || p.has("WHERE") || c.dialect == MySQL && p.has("LIMIT") {
		return
	}
	if verb == "DELETE" {
		c.report(at, Truncate, "delete what is not needed in the contract phase", "the running release loses the rows of %s", name)
		return
	}
	c.report(at, WholeTable, rowsInstead, "every row of %s is locked until the statement has changed the last one", name)
}

// locks looks at statements that take a lock by name or by what they do.
func (c *checker) locks(p *cursor, at int, verb string) {
	switch verb {
	case "LOCK":
		p.any("TABLE", "TABLES")
		p.take("ONLY")
		if name := p.name(); !c.isNew(name) {
			c.report(at, LockTable, "", "the running release waits until table %s is let go of", name)
		}
	case "FLUSH":
		if p.has("READ", "LOCK") {
			c.report(at, LockTable, "", "the running release cannot write until the tables are let go of")
		}
	case "VACUUM":
		if full(p) {
			c.report(at, Rewrite, "VACUUM without FULL, or pg_repack", "VACUUM FULL writes the table anew; nobody can read it meanwhile")
		}
	case "CLUSTER":
		c.report(at, Rewrite, "pg_repack", "CLUSTER writes the table anew; nobody can read it meanwhile")
	case "REINDEX":
		if !p.has("CONCURRENTLY") && !concurrentOption(p) {
			c.report(at, CreateIndex, "REINDEX … CONCURRENTLY", "nobody can write to the table, or read by the index, until it is built")
		}
	case "REFRESH":
		if !p.has("CONCURRENTLY") {
			c.report(at, Rewrite, "REFRESH MATERIALIZED VIEW CONCURRENTLY", "nobody can read the view until it is filled")
		}
	}
}

// full says whether a VACUUM is one that writes the table anew.
func full(p *cursor) bool {
	options, ok := p.parens()
	if !ok {
		return p.is("FULL")
	}
	return switchedOn(options, "FULL")
}

// concurrentOption finds the option in the parentheses of REINDEX (CONCURRENTLY) ….
func concurrentOption(p *cursor) bool {
	options, ok := p.parens()
	return ok && switchedOn(options, "CONCURRENTLY")
}

func switchedOn(options cursor, name string) bool {
	for _, o := range options.parts() {
		if o.take(name) {
			return !o.is("FALSE") && !o.is("OFF") && o.peek().text != "0"
		}
	}
	return false
}
