// Package story plays what the product promises with the built binary, real nodes and real load.
package story

import (
	"testing"

	"github.com/bootandshoot/release/test/harness"
)

// suite is set by TestMain, before any test runs.
var suite *harness.Suite

func TestMain(m *testing.M) { harness.Main(m, &suite) }
