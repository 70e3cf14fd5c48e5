package builder_test

import (
	"os"
	"testing"

	"github.com/bootandshoot/release/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Main() {
		return
	}
	if what := os.Getenv(bakeVar); what != "" {
		os.Exit(bakeMain(what))
	}
	os.Exit(m.Run())
}
