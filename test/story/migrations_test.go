package story

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/tools/postgrestest"
)

// TestSchemaAndCodeDoNotCollide renames a column of a real database under load: expand, cutover, contract. The agent is killed in the middle of expand,
// what would break the release before is refused, and so is the way back behind contract.
func TestSchemaAndCodeDoNotCollide(t *testing.T) {
	db := postgrestest.Start(t, reachable(t))
	db.Must("create table orders (id serial primary key, name text)", "create table ran (file text)")
	in := suite.New(t, "sandbox")
	buildApp(t, filepath.Join(in.Project, "bin/pgapp"))
	in.Write("recipe.yaml", "name: hello\nbase: scratch\ncopy: [{from: ./bin/pgapp, to: /pgapp}, {from: ./migrations, to: /migrations}]\nports: [8080]\nentrypoint: [/pgapp, serve]\n")
	in.Write("migrations/2_title.sql", "alter table orders rename column name to title;\n")
	app(in, db, "name", "schema: {min: 1, max: 2}\n")
	in.Operate("up")
	report := underLoad(t, in, func() {
		app(in, db, "title", second)
		wants(t, in.Run("up"), 2, "migrations/2_title.sql:1:20", "column name", "(rename)")
		in.Write("migrations/2_title.sql", "insert into ran values ('2');\nalter table orders add column title text;\nselect 1/0;\n")
		wants(t, in.Run("up"), 3, "expand of the database to 2", "division by zero", "stays")
		in.Write("migrations/2_title.sql", "insert into ran values ('2');\nalter table orders add column title text;\n")
		in.Write("migrations/3_name.sql", "alter table orders drop column name;\n")
		expandUnderKill(t, in)
		in.Until("the old fleet to be shot", time.Minute, func() bool { return len(in.Status().Fleets) == 1 })
		in.Must("run", "--contract", "-y")
		wants(t, in.Run("rollback"), 1, "r1 runs on schema 1 to 2", "at 3", "r3")
	})
	t.Log(report)
	if len(report.Failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %+v", len(report.Failures), report.Sent, report.Failures[0])
	}
	if got := db.Must("select count(*) from ran", "select string_agg(column_name, ' ' order by column_name) from information_schema.columns where table_name = 'orders'"); got != "1\nid title" {
		t.Errorf("the database has %q", got)
	}
	if s := in.Status(); s.Database == nil || s.Database.Version != 3 || len(s.Database.Runs) != 3 {
		t.Errorf("status says %+v", s.Database)
	}
}

// second is the release that reads another column.
const second = `migrations:
  dialect: postgres
  expand: {to: 2, run: [{cmd: [/pgapp, sql, /migrations/2_title.sql]}], sql: [migrations/2_*.sql]}
  contract: {to: 3, run: [{cmd: [/pgapp, sql, /migrations/3_name.sql]}]}
schema: {min: 2, max: 3}
`

// app writes a release that uses a column.
func app(in *harness.Installation, db *postgrestest.Server, column, more string) {
	in.Write("release.yaml", fmt.Sprintf(`app: hello
recipe: recipe.yaml
fleet: {driver: sandbox, size: 2, stop: {grace: 5s}, env: {COLUMN: %s, DATABASE_URL: "%s", SLOW: 2s}}
health: {http: {path: /healthz, port: 8080}}
route: {listen: "%s"}
cutover: {keep_previous: 0s, drain: {timeout: 5s}}
%s`, column, db.URL("postgres"), in.Listen, more))
}

// expandUnderKill releases while the agent dies as the command of expand runs.
func expandUnderKill(t *testing.T, in *harness.Installation) {
	t.Helper()
	wants(t, in.Run("up", "--detach"), 0)
	in.Until("expand to run", time.Minute, func() bool {
		s := in.Status()
		return len(s.Tasks) == 1 && !s.Tasks[0].Started.IsZero()
	})
	_ = syscall.Kill(in.Agent().PID, syscall.SIGKILL)
	in.Until("the release to serve", 2*time.Minute, func() bool {
		s := in.Status()
		return s.Operation == nil && s.Database != nil && s.Database.Version == 2
	})
}

func wants(t *testing.T, out harness.Output, code int, words ...string) {
	t.Helper()
	text := out.Stdout + out.Stderr
	if out.Code != code {
		t.Errorf("exit code %d, want %d:\n%s", out.Code, code, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("the output lacks %q:\n%s", w, text)
		}
	}
}

// reachable is an address of this machine that nodes can reach too: as root they have a network of their own.
func reachable(t *testing.T) string {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	t.Fatal("this machine has no IPv4 address but those of its loopback, which nodes cannot reach")
	return ""
}

// buildApp builds the app with a database. Its modules come from the module cache, or the Go module proxy.
func buildApp(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	cmd.Dir, cmd.Env = filepath.Join(harness.Root(), "test/tools/pgapp"), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build pgapp: %v\n%s", err, out)
	}
}
