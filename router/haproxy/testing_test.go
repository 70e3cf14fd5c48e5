package haproxy

import (
	"testing"
	"time"

	"github.com/bootandshoot/release/router/routertest"
)

// certificate makes a self-signed certificate for names, and gives the paths of its files.
func certificate(t *testing.T, names ...string) (cert, key string) {
	t.Helper()
	files := routertest.Certificate(t, t.TempDir(), time.Now().UnixNano(), names...)
	return files.Cert, files.Key
}
