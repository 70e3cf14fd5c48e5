package sqlcheck_test

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/sqlcheck"
	"github.com/bootandshoot/release/test/tools/postgrestest"
)

// schema is what the statements below are run on. Table t has rows.
const schema = `
create table u (id int primary key);
create table t (id int primary key, name varchar(20) default 'x', amount numeric(10, 2), note text, key int unique);
create table parts (id int) partition by range (id);
create table parts_1 partition of parts for values from (0) to (10);
insert into u select generate_series(1, 1000);
insert into t (id, amount, note, key) select n, n, 'note', n from generate_series(1, 1000) n;
create materialized view v as select * from u;
create unique index v_id on v (id);
analyze;`

// costs are statements beside what the server does for them: rewrite, the table has new files; read, every row is looked at;
// and the strongest lock on t that it takes. Whoever wants to read waits for "AccessExclusiveLock" alone, who wants to write also for the
// others that are named here.
func costs() []struct{ sql, cost string } {
	return []struct{ sql, cost string }{
		{"alter table t add column a text", "exclusive"},
		{"alter table t add column a int not null default 5", "exclusive"},
		{"alter table t add column a timestamptz not null default now()", "exclusive"},
		{"alter table t add column a timestamptz default clock_timestamp()", "exclusive read rewrite"},
		{"alter table t add column a uuid default gen_random_uuid()", "exclusive read rewrite"},
		{"alter table t add column a bigserial", "exclusive read rewrite"},
		{"alter table t add column a int generated always as identity", "exclusive read rewrite"},
		{"alter table t add column a int generated always as (id * 2) stored", "exclusive read rewrite"},
		{"alter table t add column a int unique", "exclusive read"},
		{"alter table t add column a int check (a > 0)", "exclusive read"},
		{"alter table t add column a int references u", "exclusive"},
		{"alter table t alter column note set not null", "exclusive read"},
		{"alter table t alter column name type varchar(30)", "exclusive"},
		{"alter table t alter column name type text", "exclusive"},
		{"alter table t alter column name type varchar(10)", "exclusive read rewrite"},
		{"alter table t alter column amount type numeric(12, 2)", "exclusive"},
		{"alter table t alter column amount type numeric(12, 3)", "exclusive read rewrite"},
		{"alter table t alter column key type bigint", "exclusive read rewrite"},
		{"alter table t add constraint c check (id > 0)", "exclusive read"},
		{"alter table t add constraint c check (id > 0) not valid", "exclusive"},
		{"alter table t add constraint c foreign key (id) references u (id)", "writes read"},
		{"alter table t add constraint c foreign key (id) references u (id) not valid", "writes"},
		{"alter table t add constraint c unique (amount)", "exclusive read"},
		{"alter table t set unlogged", "exclusive read rewrite"},
		{"create index on t (amount)", "writes read"},
		{"update t set note = ''", "read"},
		{"update t set note = '' where id = 1", ""},
		{"lock table t in exclusive mode", "writes"},
		{"drop index t_name", "exclusive"},
	}
}

// TestClaimsHold runs statements on a real server: those without a finding must neither read nor write every row under a lock,
// those with one must.
func TestClaimsHold(t *testing.T) {
	server := postgrestest.Start(t)
	parses(t, server)
	server.Must(schema, "create index t_name on t (name)")
	for i, got := range measured(t, server) {
		c := costs()[i]
		if got != c.cost {
			t.Errorf("%s: the server's cost is %q, want %q", c.sql, got, c.cost)
		}
		files := []sqlcheck.File{{Name: "schema.sql", Data: []byte(schema), Phase: sqlcheck.Past}, {Name: "x.sql", Data: []byte(c.sql), Phase: sqlcheck.Expand}}
		long := strings.Contains(got, "read") || strings.HasPrefix(c.sql, "lock") || strings.HasPrefix(c.sql, "drop")
		if found := sqlcheck.Check(sqlcheck.Postgres, files); (len(found) > 0) != long {
			t.Errorf("%s: %q at the server, and the check finds %v", c.sql, got, found)
		}
	}
}

// measured runs each statement in a transaction that is undone, and says what it took.
func measured(t *testing.T, server *postgrestest.Server) []string {
	t.Helper()
	var commands []string
	for _, c := range costs() {
		commands = append(commands, "begin", "create temp table files as select pg_relation_filenode('t') f, seq_scan s from pg_stat_xact_user_tables where relname = 't'", c.sql,
			`select coalesce(bool_or(mode = 'AccessExclusiveLock'), false), coalesce(bool_or(mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock')), false),
				(select seq_scan > s from pg_stat_xact_user_tables, files where relname = 't'), (select f <> pg_relation_filenode('t') from files)
				from pg_locks where pid = pg_backend_pid() and relation = 't'::regclass and granted`, "rollback")
	}
	lines := strings.Split(server.Must(commands...), "\n")
	if len(lines) != len(costs()) {
		t.Fatalf("the server says %d lines of %d statements: %q", len(lines), len(costs()), lines)
	}
	for i, line := range lines {
		f := strings.Split(line, "|")
		var words []string
		for n, word := range []string{"exclusive", "writes", "read", "rewrite"} {
			if f[n] == "t" && (word != "writes" || f[0] != "t") {
				words = append(words, word)
			}
		}
		lines[i] = strings.Join(words, " ")
	}
	return lines
}

// parses holds the examples against the server's grammar: what is said of them is not said of a mistake.
func parses(t *testing.T, server *postgrestest.Server) {
	t.Helper()
	var commands []string
	for _, e := range postgresExamples() {
		commands = append(commands, "create or replace function parsed() returns void language plpgsql as $parsed$ begin "+e.sql+"; end $parsed$")
	}
	server.Must(commands...)
}
