package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/test/harness"
)

// TestInitWorks goes from a folder without configuration to a served app.
func TestInitWorks(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"site": {"index.html": "<h1>it works</h1>", "assets/a.css": "body {}"},
		"gomodule": {
			"go.mod": "module example.com/gomodule\n\ngo 1.26\n",
			"main.go": `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<h1>it works</h1>") })
	http.ListenAndServe(":"+os.Getenv("PORT"), nil)
}
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := suite.New(t, quick)
			in.Project = filepath.Join(in.Dir, name)
			for file, text := range files {
				in.Write(file, text)
			}
			in.Must("init")
			wants(t, in.Run("init"), 1, "-y overwrites")
			in.Must("validate")
			edit(t, in, `listen: ":8080"`, `listen: "`+in.Listen+`"`)
			edit(t, in, "size: 2", "size: 1, driver: "+quick)
			in.Operate("up")
			if got := body(t, in, "/"); got != "<h1>it works</h1>" {
				t.Errorf("the app answers %q", got)
			}
		})
	}
}

func edit(t *testing.T, in *harness.Installation, old, replacement string) {
	t.Helper()
	path := filepath.Join(in.Project, "release.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("release.yaml lacks %q:\n%s", old, text)
	}
	in.Write("release.yaml", strings.Replace(string(text), old, replacement, 1))
}
