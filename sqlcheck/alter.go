package sqlcheck

import "strings"

const (
	notNullInstead = "add it without NOT NULL, or with a DEFAULT, and have it filled before the contract phase makes it NOT NULL"
	typeInstead    = "add a column of the new type, let the next release write both, and drop the old one in the contract phase"
	validInstead   = "add it NOT VALID, and VALIDATE CONSTRAINT in a transaction of its own"
)

// alter looks at ALTER of anything.
func (c *checker) alter(p *cursor, at int) {
	what := c.object(p)
	switch what {
	case "":
		return
	case "table", "view", "materialized view":
		p.maybe()
		p.take("ONLY")
		name := p.name()
		p.symbol("*")
		if c.isNew(name) {
			c.learn(p, name)
			return
		}
		c.alterTable(p, name)
	case "index":
		// its name is nobody's business
	default:
		c.alterOther(p, at, what)
	}
}

// alterOther looks at types, domains, schemas and the like.
func (c *checker) alterOther(p *cursor, at int, what string) {
	p.maybe()
	name := p.name()
	if c.isNew(name) {
		return
	}
	switch {
	case p.is("RENAME"), p.is("SET", "SCHEMA"):
		c.report(p.peek().at, Rename, renameInstead, "the running release looks for the old name of %s %s", what, name)
	case p.is("DROP", "ATTRIBUTE"):
		c.report(p.peek().at, DropColumn, dropInstead, "the running release may use what is dropped of type %s", name)
	case p.is("ALTER", "ATTRIBUTE"):
		c.report(p.peek().at, ChangeType, typeInstead, "what uses type %s is written anew, and the running release may not know the new form", name)
	case what == "domain" && p.is("SET", "NOT"), what == "domain" && p.is("ADD") && !p.has("NOT", "VALID"):
		c.report(at, AddConstraint, validInstead, "every table with domain %s is read under a lock", name)
	}
}

// learn takes the columns that a table of the same file gets: nobody uses it yet.
func (c *checker) learn(p *cursor, table string) {
	for _, part := range p.parts() {
		if part.take("ADD") && !isConstraint(&part) {
			part.take("COLUMN")
			part.maybe()
			c.know(table, part.name(), define(&part))
		}
		if part.take("RENAME", "TO") {
			c.created[part.name()] = true
		}
	}
}

func (c *checker) know(table, name string, col column) {
	if c.columns[table] == nil {
		c.columns[table] = map[string]column{}
	}
	c.columns[table][name] = col
}

// alterTable looks at each action of an ALTER TABLE.
func (c *checker) alterTable(p *cursor, table string) {
	if c.dialect == MySQL {
		c.alterMySQL(p, table)
		return
	}
	for _, part := range p.parts() {
		at := part.peek().at
		switch verb := part.any("ADD", "DROP", "ALTER", "RENAME", "SET", "DETACH", "ENABLE", "FORCE"); verb {
		case "ADD":
			c.addPostgres(&part, at, table)
		case "DROP":
			c.dropPart(&part, at, table)
		case "ALTER":
			part.take("COLUMN")
			c.alterColumn(&part, at, table, part.name())
		case "RENAME":
			c.rename(&part, at, table)
		case "SET":
			c.set(&part, at, table)
		case "DETACH":
			c.report(at, Drop, dropInstead, "the running release does not find the rows of the partition in %s any more", table)
		case "ENABLE", "FORCE":
			if part.is("ROW") {
				c.report(at, Revoke, "let a release that sets what the policies ask for run first", "rows of %s may be hidden from the running release", table)
			}
		}
	}
}

// dropPart looks at DROP of a column.
func (c *checker) dropPart(p *cursor, at int, table string) {
	if p.is("CONSTRAINT") || p.is("EXPRESSION") {
		return
	}
	p.take("COLUMN")
	p.maybe()
	name := p.name()
	delete(c.columns[table], name)
	c.report(at, DropColumn, dropInstead, "the running release may use column %s of %s", name, table)
}

func (c *checker) rename(p *cursor, at int, table string) {
	switch {
	case p.is("CONSTRAINT"):
	case p.any("TO", "AS") != "":
		c.report(at, Rename, renameInstead, "the running release looks for table %s", table)
	default:
		p.take("COLUMN")
		c.report(at, Rename, renameInstead, "the running release looks for column %s of %s", p.name(), table)
	}
}

// set looks at SET of a whole table.
func (c *checker) set(p *cursor, at int, table string) {
	switch {
	case p.is("SCHEMA"):
		c.report(at, Rename, renameInstead, "the running release looks for table %s where it was", table)
	case p.is("TABLESPACE"), p.is("LOGGED"), p.is("UNLOGGED"), p.is("ACCESS"):
		c.report(at, Rewrite, "", "table %s is written anew; nobody can read it meanwhile", table)
	}
}

func (c *checker) addPostgres(p *cursor, at int, table string) {
	if isConstraint(p) {
		c.addConstraint(p, at, table)
		return
	}
	p.take("COLUMN")
	p.maybe()
	name := p.name()
	col := define(p)
	c.know(table, name, col)
	given := col.def != nil && !col.null
	switch {
	case col.serial, col.stored:
		c.report(at, VolatileDefault, "add a column without, fill it in parts, and set its default then", "column %s has a value of its own in each row, so that %s is written anew; nobody can read it meanwhile", name, table)
	case col.notNull && !given && !col.virtual:
		c.report(at, NotNull, notNullInstead, "the running release does not know column %s of %s, so that its inserts fail; and it cannot be added to a table with rows", name, table)
	case volatile(col.def) != "":
		c.report(at, VolatileDefault, "add the column without a default, set the default, and fill the rows in parts", "%s() may give another value for each row, so that %s is written anew; nobody can read it meanwhile", strings.ToLower(volatile(col.def)), table)
	}
	if col.primary || col.unique {
		c.report(at, AddConstraint, "create unique index concurrently, then ADD CONSTRAINT … USING INDEX", "nobody can read or write %s until the index is built", table)
	}
	if col.check || col.refers && given {
		c.report(at, AddConstraint, validInstead, "every row of %s is read while nobody can write it", table)
	}
}

// addConstraint looks at constraints of tables: all rows are checked unless the statement says otherwise.
func (c *checker) addConstraint(p *cursor, at int, table string) {
	if p.take("CONSTRAINT") {
		p.name()
	}
	late := p.has("NOT", "VALID") || p.has("NOT", "ENFORCED")
	switch {
	case p.is("NOT", "NULL") && !late:
		c.report(at, SetNotNull, validInstead, "every row of %s is read while nobody can use it, and what the running release leaves out is refused", table)
	case p.is("UNIQUE"), p.is("PRIMARY"):
		if !p.has("USING", "INDEX") {
			c.report(at, AddConstraint, "create unique index concurrently, then ADD CONSTRAINT … USING INDEX", "nobody can read or write %s until the index is built", table)
		}
	case p.is("EXCLUDE"):
		c.report(at, AddConstraint, "", "nobody can read or write %s until the index is built", table)
	case p.is("CHECK") && !late:
		c.report(at, AddConstraint, validInstead, "every row of %s is read while nobody can use it", table)
	case p.is("FOREIGN") && !late:
		c.report(at, AddConstraint, validInstead, "every row of %s is looked up while nobody can write either table", table)
	}
}

// alterColumn looks at ALTER COLUMN of PostgreSQL.
func (c *checker) alterColumn(p *cursor, at int, table, name string) {
	switch {
	case p.take("SET", "NOT", "NULL"):
		c.report(at, SetNotNull, "add a constraint CHECK (… IS NOT NULL) NOT VALID and validate it first; then SET NOT NULL in the contract phase reads no row", "every row of %s is read while nobody can use it, and what the running release leaves out in %s is refused", table, name)
	case p.take("DROP", "DEFAULT"):
		if col, known := c.columns[table][name]; !known || col.notNull {
			c.report(at, DropDefault, "drop it in the contract phase", "inserts of the running release that leave %s out may fail", name)
		}
	case p.take("SET", "EXPRESSION"):
		c.report(at, Rewrite, "", "table %s is written anew; nobody can read it meanwhile", table)
	case p.take("SET", "DATA", "TYPE"), p.take("TYPE"):
		c.changeType(at, table, name, define(p), p)
	}
}

// changeType says what another type does to those who know the old one. Without a file that made the column that one is not known.
func (c *checker) changeType(at int, table, name string, col column, p *cursor) {
	old, known := c.columns[table][name]
	holds, inPlace := widened(c.dialect, old.typ, col.typ)
	using := (&cursor{tokens: p.tokens}).has("USING")
	col.notNull, col.def = old.notNull, old.def
	c.know(table, name, col)
	switch {
	case !known:
		c.report(at, ChangeType, typeInstead, "no file says which type %s of %s has: the running release may write what the new one does not hold, and the table may be written anew while nobody can read it", name, table)
	case !holds || using && old.typ != col.typ:
		c.report(at, ChangeType, typeInstead, "%s of %s is %s: what the running release writes may not fit %s, and the table may be written anew while nobody can read it", name, table, old.typ, col.typ)
	case !inPlace:
		c.report(at, Rewrite, typeInstead, "%s is written anew for the change from %s to %s; nobody can use it meanwhile", table, old.typ, col.typ)
	}
}
