package install

import (
	"os"
	"testing"

	"github.com/bootandshoot/release/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Main() {
		return
	}
	os.Exit(m.Run())
}
