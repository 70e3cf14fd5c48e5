package engines

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/client"
)

// TestEngines: each engine is one of its own, reached by TLS with the network's certificates, and comes back with what it had.
func TestEngines(t *testing.T) {
	n := NewNetwork(t)
	list := n.Start("alpha", "beta")
	ids := map[string]bool{}
	for _, e := range list {
		c := secured(t, n, e)
		info, err := c.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Name != e.Name || ids[info.ID] {
			t.Errorf("engine %s says that it is %s, %s", e.Name, info.Name, info.ID)
		}
		ids[info.ID] = true
	}
	plain := http.Client{Timeout: 5 * time.Second}
	if res, err := plain.Get("http://" + net.JoinHostPort(list[0].Address, "2376") + "/_ping"); err == nil {
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("the engine answers without TLS")
		}
	}
	list[0].Kill()
	if err := list[0].ping(); err == nil {
		t.Error("a killed engine answers")
	}
	list[0].Restart()
	list[1].PowerOff()
	list[1].PowerOn()
	info, err := secured(t, n, list[1]).Info(t.Context())
	if err != nil || !ids[info.ID] {
		t.Errorf("after its power came back it is %s (%v), one of %v", info.ID, err, ids)
	}
	dir := list[0].dir
	list[0].end()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its folder is left: %v", err)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + list[0].line); len(left) > 0 {
		t.Errorf("control groups are left: %v", left)
	}
}

func secured(t *testing.T, n *Network, e *Engine) *client.Client {
	t.Helper()
	certs := n.Certs()
	c, err := client.NewClientWithOpts(client.WithHost(e.TCP()), client.WithAPIVersionNegotiation(),
		client.WithTLSClientConfig(certs+"/ca.pem", certs+"/cert.pem", certs+"/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
