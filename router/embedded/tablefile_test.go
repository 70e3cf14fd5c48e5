package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

// A table that is damaged on disk is put aside, and the one before it is served.
func TestDamagedTable(t *testing.T) {
	damages := map[string]func([]byte) []byte{
		"empty":    func([]byte) []byte { return nil },
		"cut":      func(b []byte) []byte { return b[:len(b)/2] },
		"zeroes":   func(b []byte) []byte { return make([]byte, len(b)) },
		"longer":   func(b []byte) []byte { return append(b, b...) },
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
			path := filepath.Join(dir, tableName)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(whole)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // and again at the start after that
				startRouter(t, dir)
				if _, body := fetch(t, "GET", "http://"+listen+"/", "", nil); body != "a" {
					t.Fatalf("%q is served", body)
				}
				if aside, err := os.ReadFile(path + ".bad"); err != nil || string(aside) != string(damaged) {
					t.Errorf("put aside: %q, %v", aside, err)
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
	path := filepath.Join(dir, tableName)
	for name, harm := range map[string]func() error{
		"removed": func() error { return os.Remove(path) },
		"cut":     func() error { return os.Truncate(path, 10) },
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
	left := []string{".tmp-123", ".tmp-987654321", spareName}
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
	for _, name := range append(others, ".tmp-folder", tableName) {
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
