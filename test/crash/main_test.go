package crash

import (
	"os"
	"testing"

	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite, "failpoints") }

// full says whether everything is gone through, not a part.
func full() bool { return os.Getenv("RELEASE_STRESS") == "full" }
