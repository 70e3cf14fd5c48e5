package sqlcheck

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// column is what a definition says of a column.
type column struct {
	typ     string // in lower case, without aliases: "varchar(20)"
	notNull bool
	def     []token // its default; nil: none
	null    bool    // the default is NULL
	serial  bool    // it numbers its rows by itself
	stored  bool    // computed from others, and stored
	virtual bool    // computed from others when it is read
	primary bool
	unique  bool
	check   bool
	refers  bool
}

// endsType are the words that may follow the type, or the default, of a column.
func endsType() []string {
	return []string{"NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "GENERATED", "CONSTRAINT", "COLLATE", "STORAGE",
		"COMPRESSION", "AS", "AUTO_INCREMENT", "COMMENT", "FIRST", "AFTER", "ON", "VISIBLE", "INVISIBLE", "KEY", "USING", "DEFERRABLE", "INITIALLY"}
}

// define reads a column's definition behind its name.
func define(p *cursor) column {
	col := column{typ: readType(p)}
	for p.more() {
		switch {
		case p.take("NOT", "NULL"):
			col.notNull = true
		case p.take("DEFAULT"):
			col.null = p.is("NULL")
			col.def = expression(p)
		case p.take("PRIMARY"):
			col.primary, col.notNull = true, true
		case p.take("UNIQUE"):
			col.unique = true
		case p.take("CHECK"):
			p.parens()
			col.check = !p.take("NOT", "ENFORCED")
		case p.take("REFERENCES"):
			col.refers = true
		case p.take("AUTO_INCREMENT"):
			col.serial = true
		case p.take("GENERATED", "BY", "DEFAULT", "AS", "IDENTITY"), p.take("GENERATED", "ALWAYS", "AS", "IDENTITY"):
			col.serial = true
		case p.take("GENERATED", "ALWAYS", "AS"), p.take("AS"):
			p.parens()
			col.stored = p.take("STORED")
			col.virtual = !col.stored
		default:
			p.i++
		}
	}
	if strings.HasSuffix(col.typ, "serial") || strings.HasPrefix(col.typ, "serial") {
		col.serial, col.notNull = true, true
	}
	return col
}

// expression reads a default: up to the next word that can follow one.
func expression(p *cursor) []token {
	from := p.i
	for first := true; p.more(); first = false {
		if !first && slices.ContainsFunc(endsType(), func(w string) bool { return p.is(w) }) {
			break
		}
		if _, ok := p.parens(); !ok {
			p.i++
		}
	}
	return p.tokens[from:p.i]
}

// readType reads a type's words and the numbers behind it.
func readType(p *cursor) string {
	var text strings.Builder
	for first := true; p.more(); first = false {
		if slices.ContainsFunc(endsType(), func(w string) bool { return p.is(w) }) || p.is("CHARACTER", "SET") || p.is("CHARSET") {
			break
		}
		if inner, ok := p.parens(); ok {
			text.WriteString("(" + spelled(inner.tokens) + ")")
			continue
		}
		t := p.peek()
		if !first && (t.kind == word || t.kind == quoted) && !strings.HasSuffix(text.String(), ".") {
			text.WriteByte(' ')
		}
		text.WriteString(strings.ToLower(t.text))
		p.i++
	}
	return canonical(text.String())
}

func spelled(tokens []token) string {
	var text strings.Builder
	for _, t := range tokens {
		if t.kind == literal {
			text.WriteString(strconv.Quote(t.text))
			continue
		}
		text.WriteString(strings.ToLower(t.text))
	}
	return text.String()
}

// canonical replaces the beginning of a type by its usual name.
func canonical(typ string) string {
	for _, alias := range [][2]string{{"character varying", "varchar"}, {"integer", "int"}, {"int4", "int"}, {"int8", "bigint"},
		{"int2", "smallint"}, {"decimal", "numeric"}, {"pg_catalog.", ""}} {
		if rest, ok := strings.CutPrefix(typ, alias[0]); ok {
			return alias[1] + rest
		}
	}
	return typ
}

// volatile names the first function in a default that gives another value for each row, or may; "" for none.
func volatile(def []token) string {
	for i, t := range def {
		if t.kind != word || i+1 >= len(def) || !def[i+1].symbol("(") {
			continue
		}
		if !slices.Contains(steady(), strings.ToLower(t.text)) {
			return t.text
		}
	}
	return ""
}

// steady are functions of the same value for all rows of a statement, and types that take a length.
func steady() []string {
	return []string{"now", "current_timestamp", "current_date", "current_time", "localtime", "localtimestamp", "transaction_timestamp",
		"statement_timestamp", "lower", "upper", "md5", "coalesce", "date_trunc", "timezone", "current_setting", "to_timestamp", "to_date",
		"make_interval", "make_date", "array_fill", "jsonb_build_object", "json_build_object", "jsonb_build_array", "json_build_array", "json_object",
		"json_array", "round", "abs", "concat", "repeat", "decode", "encode", "cast", "varchar", "char", "character", "numeric", "decimal", "varying",
		"timestamp", "timestamptz", "time", "interval", "bit", "array", "row", "date", "utc_timestamp", "curdate", "curtime", "unix_timestamp"}
}

var sized = regexp.MustCompile(`^(varchar|varbit|bit varying|numeric)(?:\((\d+)(?:,(-?\d+))?\))?$`)

// widened says whether every value of one type is one of another, and whether the table need not be written anew for it.
func widened(d Dialect, from, to string) (holds, inPlace bool) {
	if from == to {
		return true, true
	}
	if d == Postgres && to == "text" && strings.HasPrefix(from, "varchar") || d == Postgres && from == "text" && to == "varchar" {
		return true, true
	}
	if ints := []string{"smallint", "int", "bigint"}; slices.Contains(ints, from) && slices.Contains(ints, to) {
		return slices.Index(ints, to) > slices.Index(ints, from), false
	}
	f, t := sized.FindStringSubmatch(from), sized.FindStringSubmatch(to)
	if f == nil || t == nil || f[1] != t[1] {
		return false, false
	}
	return longer(d, f, t)
}

// longer compares two sizes of one type.
func longer(d Dialect, from, to []string) (holds, inPlace bool) {
	old, _ := strconv.Atoi(from[2]) // digits by the pattern; a number that is too large is 0, and smaller than any
	size, _ := strconv.Atoi(to[2])
	switch {
	case d == MySQL: // the length takes a byte or two, by how many bytes the column may have: up to 4 a character
		return size >= old, size >= old && (size <= 63 || old > 255)
	case to[2] == "":
		return true, true
	case from[2] == "", from[3] != to[3]:
		return false, false
	}
	return size >= old, size >= old
}
