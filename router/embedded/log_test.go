package embedded

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

func TestAccessLog(t *testing.T) {
	var path string
	e := startEngine(t, func(c *Config) {
		path = filepath.Join(c.Dir, "logs", "access.log")
		c.AccessLog = path
	})
	listen := e.serveNodes(t, routertest.StartNode(t, "a", nil))
	fetch(t, "GET", "http://"+listen+"/shop?token=verysecret", "", func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer verysecret")
		r.Header.Set("Cookie", "verysecret")
	})
	var b []byte
	routertest.Eventually(t, "the line is written", func() bool {
		b, _ = os.ReadFile(path)
		return len(b) > 0
	})
	if strings.Contains(string(b), "verysecret") {
		t.Fatalf("the log holds a secret: %s", b)
	}
	var got accessEntry
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Time == "" || got.Seconds <= 0 {
		t.Errorf("entry %+v", got)
	}
	host := strings.Split(listen, ":")[0]
	want := accessEntry{
		Time: got.Time, Seconds: got.Seconds, Client: "127.0.0.1", Method: "GET", Host: host, Path: "/shop", Proto: "HTTP/1.1",
		Status: 200, Bytes: 1, Route: "shop/production/web", Release: "r1", Fleet: "shop/production/web/r1/1", Node: "a", Tries: 1,
	}
	if got != want {
		t.Errorf("entry\n%+v, want\n%+v", got, want)
	}
}

func TestAccessLogRotates(t *testing.T) {
	dir := t.TempDir()
	l, err := openAccessLog(Config{AccessLog: filepath.Join(dir, "access.log"), AccessLogBytes: 1000, AccessLogKeep: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		l.write(accessEntry{Path: "/x"})
	}
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	l.close()
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 {
		t.Fatalf("files %v", entries)
	}
	for _, f := range entries {
		b, _ := os.ReadFile(filepath.Join(dir, f.Name()))
		if len(b) > 1000 || !strings.HasSuffix(string(b), "}\n") {
			t.Errorf("%s: %d bytes, or torn", f.Name(), len(b))
		}
	}
}
