package guest

import (
	"go/build"
	"slices"
	"testing"
)

// What this package imports decides how early an init begins; see the package's documentation.
func TestImportsStayFewAndLow(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"bufio", "bytes", "encoding/json", "errors", "fmt", "github.com/bootandshoot/release/internal/pid1", "golang.org/x/net/bpf", "golang.org/x/sys/unix", "io", "os",
		"os/signal", "path", "path/filepath", "runtime", "runtime/debug", "slices", "strconv", "strings", "sync", "syscall", "time", "unsafe"}
	for _, i := range p.Imports {
		if !slices.Contains(allowed, i) {
			t.Errorf("import of %s: is it initialised early? Measure with GODEBUG=inittrace=1, and TestLaunchOf100", i)
		}
	}
}
