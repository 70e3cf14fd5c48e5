package embedded

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/pairfile"
	"github.com/bootandshoot/release/router/routertest"
)

// newestFile is the one of the two files that has the table that was applied last.
func newestFile(t *testing.T, dir string) string {
	t.Helper()
	newest, most := "", 0
	for _, name := range pairfile.New(filepath.Join(dir, tableName), 0).Paths() {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := strconv.Atoi(strings.Fields(string(b))[0]); n > most {
			newest, most = name, n
		}
	}
	return newest
}

// While a table on disk is damaged the one before it is served.
func TestDamagedTable(t *testing.T) {
	damages := map[string]func([]byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"cut":      func(b []byte) []byte { return b[:bytes.LastIndexByte(b, '}')] },
		"zeroes":   func(b []byte) []byte { return make([]byte, len(b)) },
		"changed":  func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"weight":1`), []byte(`"weight":2`)) },
		"nonsense": func([]byte) []byte { return []byte(`{"schema":1,"routes":[{}]}`) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := startRouter(t, dir)
			a, b := routertest.StartNode(t, "a", nil), routertest.StartNode(t, "b", nil)
			listen := routertest.FreeListen(t)
			mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1))))
			mustApply(t, c, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(1, 1, a))))
			newest := routertest.TableOf(3, routertest.RouteTo(listen, routertest.FleetOf(2, 1, b)))
			mustApply(t, c, newest)
			kill(t, c)
			path := newestFile(t, dir)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // and again at the start after that
				startRouter(t, dir)
				if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" {
					t.Fatalf("%q is served", body)
				}
				kill(t, c)
			}
			if log, _ := os.ReadFile(filepath.Join(dir, logName)); !strings.Contains(string(log), "DAMAGED") {
				t.Error("nobody is told")
			}
			mustApply(t, startRouter(t, dir), newest)
			if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "b" {
				t.Errorf("after the newest table came again: %q", body)
			}
		})
	}
}

// The successor of an upgrade reads the table from disk: one that somebody damaged or removed there is written again before.
func TestUpgradeWithADamagedTable(t *testing.T) {
	dir := t.TempDir()
	c := startRouter(t, dir)
	node := routertest.StartNode(t, "a", nil)
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(listen, routertest.FleetOf(1, 1))))
	mustApply(t, c, routertest.TableOf(2, routertest.RouteTo(listen, routertest.FleetOf(1, 1, node))))
	for name, harm := range map[string]func() error{
		"removed": func() error { return os.Remove(newestFile(t, dir)) },
		"cut":     func() error { return os.Truncate(newestFile(t, dir), 10) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if s := upgrade(t, c); s.Table == nil || s.Table.Seq != 2 {
			t.Fatalf("%s: the successor has %+v", name, s.Table)
		}
		if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" {
			t.Errorf("%s: %q", name, body)
		}
	}
}

// What a killed process left half written goes at the next start, and nothing else does.
func TestHalfWrittenFilesAreSwept(t *testing.T) {
	dir := t.TempDir()
	c := startRouter(t, dir)
	mustApply(t, c, routertest.TableOf(1))
	kill(t, c)
	left := []string{".tmp-123", ".tmp-987654321"}
	others := []string{"notes.tmp-1", ".tmpfile"}
	for _, name := range append(left, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".tmp-folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	startRouter(t, dir)
	for _, name := range left {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s stays: %v", name, err)
		}
	}
	for _, name := range append(others, ".tmp-folder", tableName+".0") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	mustApply(t, c, routertest.TableOf(2))
	mustApply(t, c, routertest.TableOf(3))
	if now, _ := filepath.Glob(filepath.Join(dir, temporary)); len(now) != 1 {
		t.Errorf("after tables were applied: %v", now)
	}
}
