package sqlcheck

import "strings"

// alterMySQL looks at each action of an ALTER TABLE. What MySQL is told to refuse rather than to lock for is no lock.
func (c *checker) alterMySQL(p *cursor, table string) {
	from := len(c.found)
	refuses := unlocked(p)
	for _, part := range p.parts() {
		c.optionMySQL(&part, table)
	}
	if !refuses {
		return
	}
	kept := c.found[:from]
	for _, f := range c.found[from:] {
		if f.rule.breaks() || f.rule == ChangeType {
			kept = append(kept, f)
		}
	}
	c.found = kept
}

func (c *checker) optionMySQL(p *cursor, table string) {
	at := p.peek().at
	switch {
	case p.take("ADD"):
		c.addMySQL(p, at, table)
	case p.take("DROP"):
		c.dropMySQL(p, at, table)
	case p.is("RENAME", "INDEX"), p.is("RENAME", "KEY"):
	case p.take("RENAME"):
		if p.any("TO", "AS"); !p.is("COLUMN") {
			c.report(at, Rename, renameInstead, "the running release looks for table %s", table)
			return
		}
		c.rename(p, at, table)
	case p.take("CHANGE"):
		p.take("COLUMN")
		name, now := p.name(), p.name()
		if name != now {
			c.report(at, Rename, renameInstead, "the running release looks for column %s of %s", name, table)
		}
		c.modify(p, at, table, name)
	case p.take("MODIFY"):
		p.take("COLUMN")
		c.modify(p, at, table, p.name())
	case p.take("ALTER"):
		p.take("COLUMN")
		if name := p.name(); p.take("DROP", "DEFAULT") {
			c.report(at, DropDefault, "drop it in the contract phase", "inserts of the running release that leave %s out may fail", name)
		}
	default:
		c.tableOption(p, at, table)
	}
}

// tableOption looks at what is said of the table as a whole.
func (c *checker) tableOption(p *cursor, at int, table string) {
	switch {
	case p.option("ALGORITHM", "COPY"), p.is("CONVERT"), p.is("ORDER"), p.is("ENGINE"), p.is("PARTITION"), p.is("REORGANIZE"), p.is("COALESCE"),
		p.is("REMOVE"), p.is("TABLESPACE"), p.is("IMPORT"):
		c.report(at, Rewrite, "gh-ost or pt-online-schema-change", "%s is copied; nobody can write to it meanwhile", table)
	case p.option("LOCK", "SHARED"), p.option("LOCK", "EXCLUSIVE"):
		c.report(at, LockTable, "LOCK=NONE", "nobody can write to %s until the statement is done", table)
	case p.is("TRUNCATE"), p.is("DISCARD"):
		c.report(at, Truncate, dropInstead, "the running release loses rows of %s", table)
	}
}

func (c *checker) dropMySQL(p *cursor, at int, table string) {
	switch {
	case p.is("INDEX"), p.is("KEY"), p.is("FOREIGN"), p.is("CHECK"), p.is("CONSTRAINT"):
	case p.is("PRIMARY"):
		c.report(at, Rewrite, "drop it and add the new one in one statement", "%s is copied; nobody can write to it meanwhile", table)
	case p.take("PARTITION"):
		c.report(at, Drop, dropInstead, "the running release loses the rows of partition %s of %s", p.name(), table)
	default:
		c.dropPart(p, at, table)
	}
}

func (c *checker) addMySQL(p *cursor, at int, table string) {
	switch {
	case p.is("PARTITION"), p.is("PERIOD"), p.is("SYSTEM"):
		return
	case isConstraint(p):
		c.constraintMySQL(p, at, table)
		return
	}
	p.take("COLUMN")
	p.maybe()
	if several, ok := p.parens(); ok {
		for _, part := range several.parts() {
			c.columnMySQL(&part, part.peek().at, table)
		}
		return
	}
	c.columnMySQL(p, at, table)
}

// columnMySQL looks at a new column. MySQL fills rows that are there with a zero or an empty text, but takes no insert without a
// value where the mode is strict, which is the default.
func (c *checker) columnMySQL(p *cursor, at int, table string) {
	name := p.name()
	col := define(p)
	c.know(table, name, col)
	switch {
	case col.serial, col.stored:
		c.report(at, VolatileDefault, "gh-ost or pt-online-schema-change", "column %s has a value of its own in each row, so that %s is written anew; nobody can write to it meanwhile", name, table)
	case volatile(col.def) != "":
		c.report(at, VolatileDefault, "add the column without a default, set the default, and fill the rows in parts", "%s() may give another value for each row, so that %s is written anew; nobody can write to it meanwhile", strings.ToLower(volatile(col.def)), table)
	case col.notNull && (col.def == nil || col.null) && !col.virtual:
		c.report(at, NotNull, notNullInstead, "the running release does not know column %s of %s, so that its inserts fail", name, table)
	}
	if col.check {
		c.report(at, AddConstraint, "add it NOT ENFORCED", "%s is copied to check every row; nobody can write to it meanwhile", table)
	}
}

func (c *checker) constraintMySQL(p *cursor, at int, table string) {
	if p.take("CONSTRAINT") && !isConstraint(p) {
		p.name()
	}
	switch {
	case p.is("FOREIGN"):
		c.report(at, AddConstraint, "set foreign_key_checks to 0 for the statement, and look for rows that do not fit by a query", "every row of %s is looked up; nobody can write to it meanwhile", table)
	case p.is("CHECK") && !p.has("NOT", "ENFORCED"):
		c.report(at, AddConstraint, "add it NOT ENFORCED", "%s is copied to check every row; nobody can write to it meanwhile", table)
	case p.is("FULLTEXT"), p.is("SPATIAL"):
		c.report(at, CreateIndex, "", "nobody can write to %s until the index is built", table)
	}
}

// modify looks at the new definition of a column.
func (c *checker) modify(p *cursor, at int, table, name string) {
	old, known := c.columns[table][name]
	col := define(p)
	if known && col.notNull && !old.notNull {
		c.report(at, SetNotNull, notNullInstead, "%s is copied while nobody can write to it, and what the running release leaves out in %s is refused", table, name)
	}
	if known && col.def == nil && old.def != nil && col.notNull {
		c.report(at, DropDefault, "keep the default, and drop it in the contract phase", "inserts of the running release that leave %s out fail", name)
	}
	c.changeType(at, table, name, column{typ: col.typ}, p)
	c.know(table, name, col)
}
