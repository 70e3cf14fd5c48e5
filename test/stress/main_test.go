package stress

import (
	"testing"

	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite) }
