package routertest_test

import (
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

func TestFakeKeepsTheContract(t *testing.T) {
	routertest.Run(t, routertest.Harness{New: func(*testing.T) routertest.Instance {
		f := routertest.NewFake()
		return routertest.Instance{Backend: f, Restart: func(*testing.T) { f.Restart() }}
	}})
}
