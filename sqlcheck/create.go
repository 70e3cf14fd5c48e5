package sqlcheck

import "maps"

// create looks at CREATE: what is new is nobody's, but for indexes of tables that are there.
func (c *checker) create(p *cursor, at int) {
	replaces := p.take("OR", "REPLACE")
	p.any("GLOBAL", "LOCAL")
	temporary := p.any("TEMPORARY", "TEMP", "UNLOGGED") != ""
	p.take("FOREIGN")
	if p.take("TABLE") {
		c.createTable(p, at, replaces && !temporary)
		return
	}
	kind := p.any("UNIQUE", "FULLTEXT", "SPATIAL")
	if p.take("INDEX") {
		c.createIndex(p, at, kind)
		return
	}
	if p.any("VIEW", "SEQUENCE", "TYPE", "DOMAIN", "SCHEMA", "FUNCTION", "PROCEDURE") != "" || p.take("MATERIALIZED", "VIEW") {
		if p.maybe(); !replaces {
			c.created[p.name()] = true
		}
	}
}

func (c *checker) createTable(p *cursor, at int, replaces bool) {
	exists := p.is("IF")
	p.maybe()
	name := p.name()
	if replaces {
		c.report(at, Drop, dropInstead, "the running release loses table %s, if there is one", name)
	}
	if exists && c.columns[name] != nil {
		return // an earlier file made it
	}
	c.created[name] = true
	columns := map[string]column{}
	if p.take("LIKE") {
		columns = maps.Clone(c.columns[p.name()])
	}
	if body, ok := p.parens(); ok {
		for _, part := range body.parts() {
			if !isConstraint(&part) {
				columns[part.name()] = define(&part)
			}
		}
	}
	c.columns[name] = columns
}

// isConstraint tells the parts of CREATE TABLE, and what follows ADD, that are no columns.
func isConstraint(p *cursor) bool {
	for _, w := range []string{"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE", "LIKE", "INDEX", "KEY", "FULLTEXT", "SPATIAL", "PARTITION"} {
		if p.is(w) {
			return true
		}
	}
	return false
}

// createIndex: a table's rows are read while nobody may write. InnoDB lets others write, but for indexes of words and places.
func (c *checker) createIndex(p *cursor, at int, kind string) {
	concurrently := p.take("CONCURRENTLY")
	p.maybe()
	index := ""
	if !p.is("ON") {
		index = p.name()
	}
	for p.more() && !p.take("ON") {
		p.i++ // USING btree
	}
	p.take("ONLY")
	table := p.name()
	switch {
	case c.isNew(table):
		c.created[index] = true
	case c.dialect == MySQL && (kind == "" || kind == "UNIQUE"), concurrently, c.dialect == MySQL && unlocked(p):
	case c.dialect == MySQL:
		c.report(at, CreateIndex, "", "nobody can write to %s until the index is built", table)
	default:
		c.report(at, CreateIndex, "create index concurrently, outside of a transaction", "nobody can write to %s until the index is built", table)
	}
}

// unlocked says whether MySQL is told to refuse a statement rather than to keep others from writing.
func unlocked(p *cursor) bool {
	for look := *p; look.more(); look.i++ {
		if look.option("LOCK", "NONE") || look.option("ALGORITHM", "INSTANT") {
			return true
		}
	}
	return false
}

// option says whether NAME [=] VALUE is next.
func (c *cursor) option(name, value string) bool {
	look := *c
	if !look.take(name) {
		return false
	}
	look.symbol("=")
	return look.is(value)
}
