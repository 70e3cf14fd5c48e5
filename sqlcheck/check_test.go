package sqlcheck_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bootandshoot/release/sqlcheck"
)

// found is the findings of one file as "rule rule …", in order.
func found(d sqlcheck.Dialect, phase sqlcheck.Phase, sql string) string {
	var rules []string
	for _, f := range sqlcheck.Check(d, []sqlcheck.File{{Name: "x.sql", Data: []byte(sql), Phase: phase}}) {
		rules = append(rules, string(f.Rule))
	}
	return strings.Join(rules, " ")
}

type example struct{ sql, want string }

// postgresExamples are statements beside what is wrong with them while a release runs that uses table t (id int, name varchar(20)).
func postgresExamples() []example {
	return []example{
		{"create table u (id int primary key, t_id int references t)", ""},
		{"insert into t values (1)", ""},
		{"select drop_table from t", ""},
		{"drop table t", "drop"},
		{"DROP TABLE IF EXISTS a, public.b CASCADE", "drop drop"},
		{"drop view v", "drop"},
		{"drop materialized view v", "drop"},
		{"drop type mood", "drop"},
		{"drop function f(int, text)", "drop"},
		{"drop trigger x on t", ""},
		{"drop index i", "create-index"},
		{"drop index concurrently if exists i", ""},
		{"alter table t drop column name", "drop-column"},
		{"alter table only public.t drop if exists name, drop \"Other\" cascade", "drop-column drop-column"},
		{"alter table t drop constraint c", ""},
		{"alter table t rename name to title", "rename"},
		{"alter table t rename column name to title", "rename"},
		{"alter table t rename to u", "rename"},
		{"alter table t rename constraint a to b", ""},
		{"alter table t set schema archive", "rename"},
		{"alter view v rename to w", "rename"},
		{"alter index i rename to j", ""},
		{"alter type mood rename value 'sad' to 'blue'", "rename"},
		{"alter type mood add value 'glad'", ""},
		{"alter type pair drop attribute a", "drop-column"},
		{"truncate t, u", "truncate truncate"},
		{"delete from t", "truncate"},
		{"delete from t where id > 5", ""},
		{"update t set name = ''", "whole-table"},
		{"update t set name = (select 'x' where true)", "whole-table"},
		{"update t set name = '' where id = 1", ""},
		{"revoke select on t from app", "revoke"},
		{"alter table t enable row level security", "revoke"},
		{"alter table t add column email text", ""},
		{"alter table t add email text null default null", ""},
		{"alter table t add column email text not null", "not-null"},
		{"alter table t add column email text not null default null", "not-null"},
		{"alter table t add column n int not null default 0", ""},
		{"alter table t add column at timestamptz not null default now()", ""},
		{"alter table t add column at timestamptz default clock_timestamp()", "volatile-default"},
		{"alter table t add column key uuid default gen_random_uuid()", "volatile-default"},
		{"alter table t add column n bigserial", "volatile-default"},
		{"alter table t add column n int generated always as identity", "volatile-default"},
		{"alter table t add column n int generated always as (id * 2) stored", "volatile-default"},
		{"alter table t add column n int unique", "add-constraint"},
		{"alter table t add column n int check (n > 0)", "add-constraint"},
		{"alter table t add column n int references u", ""},
		{"alter table t add column price numeric(10, 2) default 0, drop column name", "drop-column"},
		{"alter table t alter column name set not null", "set-not-null"},
		{"alter table t alter name drop not null", ""},
		{"alter table t alter name set default 'x'", ""},
		{"alter table t alter name drop default", "drop-default"},
		{"alter table t alter name type text", "change-type"},
		{"alter table t alter column name set data type varchar(10) using left(name, 10)", "change-type"},
		{"alter table t add constraint c check (id > 0)", "add-constraint"},
		{"alter table t add constraint c check (id > 0) not valid", ""},
		{"alter table t add check (name is not null)", "add-constraint"},
		{"alter table t add constraint c foreign key (id) references u (id)", "add-constraint"},
		{"alter table t add foreign key (id) references u (id) not valid", ""},
		{"alter table t validate constraint c", ""},
		{"alter table t add constraint c unique (name)", "add-constraint"},
		{"alter table t add constraint c unique using index i", ""},
		{"alter table t add primary key (id)", "add-constraint"},
		{"alter table t add constraint c exclude using gist (span with &&)", "add-constraint"},
		{"alter table t set tablespace fast", "rewrite"},
		{"alter table t set unlogged", "rewrite"},
		{"alter table t set (fillfactor = 70)", ""},
		{"alter table t detach partition t_2019", "drop"},
		{"create index on t (name)", "create-index"},
		{"create unique index if not exists i on only t using btree (name)", "create-index"},
		{"create index concurrently i on t (name)", ""},
		{"reindex table t", "create-index"},
		{"reindex index concurrently i", ""},
		{"reindex (concurrently) table t", ""},
		{"vacuum full t", "rewrite"},
		{"vacuum (full, analyze) t", "rewrite"},
		{"vacuum (full false) t", ""},
		{"vacuum analyze t", ""},
		{"cluster t using i", "rewrite"},
		{"refresh materialized view v", "rewrite"},
		{"refresh materialized view concurrently v", ""},
		{"lock table t in share mode", "lock"},
	}
}

func mysqlExamples() []example {
	return []example{
		{"CREATE TABLE u (id int primary key, KEY (id))", ""},
		{"DROP TABLE t", "drop"},
		{"DROP TEMPORARY TABLE IF EXISTS t", "drop"},
		{"DROP INDEX i ON t", ""},
		{"RENAME TABLE t TO u", "rename"},
		{"ALTER TABLE `t` DROP `name`", "drop-column"},
		{"ALTER TABLE t DROP INDEX i, DROP FOREIGN KEY f", ""},
		{"ALTER TABLE t DROP PRIMARY KEY", "rewrite"},
		{"ALTER TABLE t DROP PARTITION p0", "drop"},
		{"ALTER TABLE t TRUNCATE PARTITION p0", "truncate"},
		{"ALTER TABLE t RENAME u", "rename"},
		{"ALTER TABLE t RENAME TO u", "rename"},
		{"ALTER TABLE t RENAME AS u", "rename"},
		{"ALTER TABLE t RENAME COLUMN a TO b", "rename"},
		{"ALTER TABLE t RENAME INDEX a TO b", ""},
		{"ALTER TABLE t CHANGE name title varchar(20)", "rename change-type"},
		{"ALTER TABLE t MODIFY COLUMN name varchar(10) NOT NULL", "change-type"},
		{"ALTER TABLE t ALTER name DROP DEFAULT", "drop-default"},
		{"ALTER TABLE t ADD COLUMN n int", ""},
		{"ALTER TABLE t ADD n int NOT NULL AFTER name", "not-null"},
		{"ALTER TABLE t ADD COLUMN (a int, b int NOT NULL)", "not-null"},
		{"ALTER TABLE t ADD n int NOT NULL DEFAULT 0, ALGORITHM=INSTANT", ""},
		{"ALTER TABLE t ADD at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", ""},
		{"ALTER TABLE t ADD k binary(16) DEFAULT (uuid_to_bin(uuid()))", "volatile-default"},
		{"ALTER TABLE t ADD id2 int NOT NULL AUTO_INCREMENT UNIQUE", "volatile-default"},
		{"ALTER TABLE t ADD n int AS (id * 2) STORED", "volatile-default"},
		{"ALTER TABLE t ADD n int AS (id * 2)", ""},
		{"ALTER TABLE t ADD INDEX i (name), ADD UNIQUE KEY u (name)", ""},
		{"ALTER TABLE t ADD FULLTEXT INDEX i (name)", "create-index"},
		{"ALTER TABLE t ADD FULLTEXT INDEX i (name), LOCK=NONE", ""},
		{"ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (a)", "add-constraint"},
		{"ALTER TABLE t ADD CONSTRAINT CHECK (a > 0)", "add-constraint"},
		{"ALTER TABLE t ADD CHECK (a > 0) NOT ENFORCED", ""},
		{"ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4", "rewrite"},
		{"ALTER TABLE t DROP COLUMN a, ALGORITHM=COPY", "drop-column rewrite"},
		{"ALTER TABLE t DROP COLUMN a, LOCK=NONE", "drop-column"},
		{"ALTER TABLE t ADD INDEX (a), LOCK = EXCLUSIVE", "lock"},
		{"ALTER TABLE t ENGINE=InnoDB", "rewrite"},
		{"CREATE INDEX i ON t (a)", ""},
		{"CREATE FULLTEXT INDEX i ON t (a)", "create-index"},
		{"UPDATE t SET a = 1", "whole-table"},
		{"UPDATE t SET a = 1 LIMIT 1000", ""},
		{"DELETE FROM t", "truncate"},
		{"TRUNCATE t", "truncate"},
		{"LOCK TABLES t WRITE", "lock"},
		{"FLUSH TABLES WITH READ LOCK", "lock"},
		{"PREPARE s FROM 'ALTER TABLE t DROP a'", "drop-column"},
		{"PREPARE s FROM @text", "dynamic"},
	}
}

func TestExamples(t *testing.T) {
	for d, examples := range map[sqlcheck.Dialect][]example{sqlcheck.Postgres: postgresExamples(), sqlcheck.MySQL: mysqlExamples()} {
		for _, e := range examples {
			if got := found(d, sqlcheck.Expand, e.sql+";\n"); got != e.want {
				t.Errorf("%s: %s\n got %q\nwant %q", d, e.sql, got, e.want)
			}
		}
	}
}

// In a contract phase the old release is gone: what it used may go. Locks hold up the new one.
func TestContract(t *testing.T) {
	sql := "alter table t drop column name; drop table u; create index on t (id); update t set id = 1; vacuum full t;"
	if got, want := found(sqlcheck.Postgres, sqlcheck.Contract, sql), "create-index whole-table rewrite"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := found(sqlcheck.Postgres, sqlcheck.Past, sql); got != "" {
		t.Errorf("a file of the past: %q", got)
	}
}

// What a file makes itself, nobody uses.
func TestNewTables(t *testing.T) {
	sql := `create table "New" (id int); create temp table if not exists scratch (id int);
		alter table public."New" drop id, rename to newer; create index i on "New" (id); drop index i; drop table "New";
		lock newer; update scratch set id = 1; truncate scratch; create view v as select 1; drop view v;`
	if got := found(sqlcheck.Postgres, sqlcheck.Expand, sql); got != "" {
		t.Errorf("got %q", got)
	}
	if got := found(sqlcheck.Postgres, sqlcheck.Expand, `create table "New" (id int); drop table new; create table archive.t (id int); drop table t;`); got != "drop drop" {
		t.Errorf("other names: got %q", got)
	}
}

// What earlier files say of a column tells whether a type is narrower.
func TestTypes(t *testing.T) {
	tests := []struct {
		d        sqlcheck.Dialect
		from, to string
		want     string
	}{
		{sqlcheck.Postgres, "varchar(20)", "character varying(30)", ""},
		{sqlcheck.Postgres, "varchar(20)", "varchar(10)", "change-type"},
		{sqlcheck.Postgres, "varchar(20)", "text", ""},
		{sqlcheck.Postgres, "text", "varchar(500)", "change-type"},
		{sqlcheck.Postgres, "int", "bigint", "rewrite"},
		{sqlcheck.Postgres, "bigint", "integer", "change-type"},
		{sqlcheck.Postgres, "numeric(10,2)", "numeric(12, 2)", ""},
		{sqlcheck.Postgres, "numeric(10,2)", "numeric(12, 3)", "change-type"},
		{sqlcheck.Postgres, "int", "int4", ""},
		{sqlcheck.MySQL, "varchar(20)", "varchar(40)", ""},
		{sqlcheck.MySQL, "varchar(20)", "varchar(100)", "rewrite"},
		{sqlcheck.MySQL, "varchar(300)", "varchar(400)", ""},
		{sqlcheck.MySQL, "int", "bigint", "rewrite"},
		{sqlcheck.MySQL, "varchar(20)", "varchar(20) NOT NULL", "set-not-null"},
	}
	for _, test := range tests {
		change := "alter table t alter c type " + test.to
		if test.d == sqlcheck.MySQL {
			change = "alter table t modify c " + test.to
		}
		found := sqlcheck.Check(test.d, []sqlcheck.File{
			{Name: "1.sql", Data: []byte("create table t (id int, c " + test.from + ", primary key (id));"), Phase: sqlcheck.Past},
			{Name: "2.sql", Data: []byte(change), Phase: sqlcheck.Expand},
		})
		var rules []string
		for _, f := range found {
			rules = append(rules, string(f.Rule))
		}
		if got := strings.Join(rules, " "); got != test.want {
			t.Errorf("%s: %s to %s: got %q, want %q", test.d, test.from, test.to, got, test.want)
		}
	}
}

// What is no statement is not taken for one, and what follows it is found again.
func TestReading(t *testing.T) {
	tests := []struct {
		name string
		d    sqlcheck.Dialect
		sql  string
		want string
	}{
		{"comments", sqlcheck.Postgres, "-- drop table t;\n/* drop /* nested */ table t; */ drop table u;", "drop"},
		{"MySQL's do not nest", sqlcheck.MySQL, "# drop table t\n/* a /* b */ drop table u; -- drop table v\n--1;", "drop"},
		{"executable comments", sqlcheck.MySQL, "/*!50003 drop table t */; /*M!100100 drop table u*/;", "drop drop"},
		{"strings", sqlcheck.Postgres, "select 'it''s; drop table t', 'a\\'; drop table u; select E'\\'; drop table t';", "drop"},
		{"MySQL's strings", sqlcheck.MySQL, "select 'a\\'; drop table t;', \"it\"\"s;\"; drop table u;", "drop"},
		{"dollar quotes", sqlcheck.Postgres, "select $$ ; drop table t; $$, $a$ $$ ; drop table t; $a$, $1; drop table u;", "drop"},
		{"quoted names", sqlcheck.Postgres, `alter table "drop" add ";drop table t;" int; drop table "a""b";`, "drop"},
		{"parentheses", sqlcheck.Postgres, "create rule r as on insert to t do (drop table u; select 1); drop table v;", "drop"},
		{"bodies", sqlcheck.Postgres, "create or replace procedure p() begin atomic select case when true then 1 end; drop table t; end; drop table u;", "drop"},
		{"MySQL's bodies", sqlcheck.MySQL, "create definer=`a`@`b` procedure p() begin if 1 then drop table t; end if; case 1 when 1 then drop table t; end case; end; drop table u;", "drop"},
		{"delimiters", sqlcheck.MySQL, "DELIMITER //\ncreate procedure p() begin drop table t; end//\ndelimiter ;\ndrop table u;", "drop"},
		{"data", sqlcheck.Postgres, "copy t from stdin;\n1\t'; drop table t;\n\\.\ndrop table u;", "drop"},
		{"commands", sqlcheck.Postgres, "\\set x 'it''s\nselect 1 \\g\ndrop table u;", "drop"},
		{"no delimiter at the end", sqlcheck.Postgres, "select 1; drop table t", "drop"},
		{"goose", sqlcheck.Postgres, "-- +goose Up\ndrop table t;\n-- +goose Down\ndrop table u;", "drop"},
		{"dbmate", sqlcheck.MySQL, "-- migrate:up transaction:false\ndrop table t;\n-- migrate:down\ndrop table u;", "drop"},
		{"blocks", sqlcheck.Postgres, "do $$ begin if not exists (select 1) then alter table t drop a; end if; execute 'drop table t'; end $$;", "drop-column drop"},
		{"computed", sqlcheck.Postgres, "do $$ begin execute format('drop table %I', x); end $$;", "dynamic"},
		{"another language", sqlcheck.Postgres, "do language plpython3u $$ drop $$;", "dynamic"},
		{"other files", sqlcheck.Postgres, "\\ir other.sql\n\\if true\n\\endif\nselect 1 \\gexec\n", "dynamic dynamic"},
		{"MySQL's other files", sqlcheck.MySQL, "source other.sql\ndrop table t;", "dynamic drop"},
		{"no end of a string", sqlcheck.Postgres, "select 'a; drop table t;", "unreadable"},
		{"no end of a comment", sqlcheck.Postgres, "/* /* */ drop table t;", "unreadable"},
		{"no end of a dollar quote", sqlcheck.Postgres, "select $x$ drop table t; $$;", "unreadable"},
		{"no end of a parenthesis", sqlcheck.Postgres, "select (1; drop table t;", "unreadable"},
		{"nothing", sqlcheck.MySQL, " ;; \n", ""},
	}
	for _, test := range tests {
		if got := found(test.d, sqlcheck.Expand, test.sql); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestAccepting(t *testing.T) {
	tests := []struct{ name, sql, want string }{
		{"before", "-- release: accept drop: nobody uses it\ndrop table t;", ""},
		{"behind", "drop table t; -- release: accept drop: nobody uses it\nselect 1;", ""},
		{"within", "alter table t\n  /* release: accept drop-column: r6 */ drop a;", ""},
		{"one each", "-- release: accept drop-column: r6\nalter table t drop a, drop b;", "drop-column"},
		{"another rule", "-- release: accept rename: r6\ndrop table t;", "accept drop"},
		{"another statement", "-- release: accept drop: r6\nselect 1;\ndrop table t;", "accept drop"},
		{"without a reason", "-- release: accept drop:\ndrop table t;", "accept drop"},
		{"no rule", "-- release: accept everything: please\ndrop table t;", "accept drop"},
		{"the unreadable", "-- release: accept unreadable: x\nselect 1; select 'x", "accept unreadable"},
		{"at the end", "drop table t;\n-- release: accept drop: late\n", "drop accept"},
	}
	for _, test := range tests {
		if got := found(sqlcheck.Postgres, sqlcheck.Expand, test.sql); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestPlaces(t *testing.T) {
	sql := "select 'ä';\n  alter table t\n    add column a int,\n\tdrop column \"ü\";\ndo $$\nbegin\n  drop table u;\nend $$;\n"
	var got []string
	for _, f := range sqlcheck.Check(sqlcheck.Postgres, []sqlcheck.File{{Name: "7.sql", Data: []byte(sql), Phase: sqlcheck.Expand}}) {
		got = append(got, fmt.Sprintf("%s:%d:%d %s", f.File, f.Line, f.Column, f.Rule))
		if e := f.Fault(); e.Line != f.Line || !strings.Contains(e.Hint, "release: accept "+string(f.Rule)) || e.Message == "" {
			t.Errorf("as an error: %+v", e)
		}
	}
	if want := "7.sql:4:2 drop-column,7.sql:7:3 drop"; strings.Join(got, ",") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// Whatever the bytes, every finding has a place within the file, and what is behind a readable file is seen.
func FuzzCheck(f *testing.F) {
	for _, e := range append(postgresExamples(), mysqlExamples()...) {
		f.Add([]byte(e.sql), true)
	}
	f.Add([]byte("DELIMITER $$\n/*!50000 x */ 'a\\'b' \"c\" `d` $$"), false)
	f.Add([]byte("do $x$ begin execute E'\\'' ; end $x$; copy t from stdin;\n\\.\n"), true)
	f.Fuzz(func(t *testing.T, data []byte, postgres bool) {
		d := sqlcheck.MySQL
		if postgres {
			d = sqlcheck.Postgres
		}
		found := sqlcheck.Check(d, []sqlcheck.File{{Name: "x.sql", Data: data, Phase: sqlcheck.Expand}})
		lines := strings.Count(string(data), "\n") + 1
		readable := true
		for _, x := range found {
			if x.Line < 1 || x.Line > lines || x.Column < 1 || x.Message == "" {
				t.Errorf("a finding without a good place: %+v", x)
			}
			readable = readable && x.Rule != sqlcheck.Unreadable
		}
		more := append(data[:len(data):len(data)], "\n"...)
		if again := sqlcheck.Check(d, []sqlcheck.File{{Name: "x.sql", Data: more, Phase: sqlcheck.Expand}}); len(again) < len(found) && readable {
			t.Errorf("a line end took findings away: %v, then %v", found, again)
		}
	})
}
