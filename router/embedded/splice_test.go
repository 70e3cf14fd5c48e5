package embedded

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

// readBy is how many bytes a process has taken from the kernel by reading, which moving them within it does not count.
func readBy(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatalf("count what the router reads (a kernel with CONFIG_TASK_IO_ACCOUNTING): %v", err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(b), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Answers over 64 KiB are moved within the kernel where nothing has to be done to their bytes: over plain HTTP/1.1, with a length. The
// router reads others itself, and so it does small ones, for which asking the kernel would cost more.
func TestLargeAnswersAreSpliced(t *testing.T) {
	c := startRouter(t, t.TempDir())
	pid := mustStatus(t, c).PID
	const large, small = 16 << 20, 32 << 10
	node := routertest.StartNode(t, "a", func(w http.ResponseWriter, r *http.Request) {
		size := large
		if strings.Contains(r.URL.Path, "small") {
			size = small
		}
		if !strings.Contains(r.URL.Path, "chunked") {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		_, _ = io.Copy(w, newRepeated(int64(size)))
	})
	plain, secure := routertest.FreeListen(t), routertest.FreeListen(t)
	files := routertest.Certificate(t, t.TempDir(), 1, "x")
	over := routertest.RouteTo(secure, routertest.FleetOf(1, 100, node))
	over.Name, over.TLS = "shop/production/secure", &files
	mustApply(t, c, routertest.TableOf(1, routertest.RouteTo(plain, routertest.FleetOf(1, 100, node)), over))
	for name, tt := range map[string]struct {
		url     string
		size    int64
		answers int64
		spliced bool
	}{
		"large":         {"http://" + plain + "/", large, 4, true},
		"small":         {"http://" + plain + "/small", small, 200, false},
		"in chunks":     {"http://" + plain + "/chunked", large, 1, false},
		"large, by TLS": {"https://" + secure + "/", large, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := sha256.New()
			_, _ = io.Copy(h, newRepeated(tt.size))
			want := h.Sum(nil)
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: "x", InsecureSkipVerify: true}}}
			defer client.CloseIdleConnections()
			before := readBy(t, pid)
			for range tt.answers {
				res, err := client.Get(tt.url)
				if err != nil {
					t.Fatal(err)
				}
				h := sha256.New()
				n, err := io.Copy(h, res.Body)
				_ = res.Body.Close()
				if err != nil || n != tt.size || string(h.Sum(nil)) != string(want) {
					t.Fatalf("%d bytes, %v: other ones", n, err)
				}
			}
			read, moved := readBy(t, pid)-before, tt.answers*tt.size
			if tt.spliced && read > moved/20 {
				t.Errorf("the router read %d bytes to pass on %d: they were not moved within the kernel", read, moved)
			}
			if !tt.spliced && read < moved {
				t.Errorf("the router read %d bytes to pass on %d: they were moved within the kernel", read, moved)
			}
		})
	}
}
