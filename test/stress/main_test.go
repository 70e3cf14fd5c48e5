package stress

import (
	"os"
	"testing"

	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) {
	suite = harness.NewSuite()
	code := m.Run()
	suite.Close()
	os.Exit(code)
}
