package install

import (
	"os"
	"testing"

	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Main() {
		return
	}
	if dir := os.Getenv(installVar); dir != "" {
		os.Exit(installMain(dir))
	}
	code := m.Run()
	if shared.dir != "" {
		if err := removal.Tree(shared.dir); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}
