package proxyproto

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestHAProxy reads what the protocol's own program sends, in each of its forms.
func TestHAProxy(t *testing.T) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatalf("%v: install it, for instance: apt-get install haproxy", err)
	}
	forms := map[string]string{
		"v1":              "send-proxy",
		"v2":              "send-proxy-v2",
		"v2 with records": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			ln := listen(t, "127.0.0.1:0")
			front := listen(t, "127.0.0.1:0")
			file, err := front.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			config := filepath.Join(t.TempDir(), "haproxy.cfg")
			text := fmt.Sprintf("defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"+
				"frontend f\n bind fd@3\n unique-id-format %%{+X}o%%Ts%%rt\n default_backend b\nbackend b\n server s %s %s\n", ln.Addr(), form)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, "-db", "-f", config)
			cmd.ExtraFiles, cmd.Stderr = []*os.File{file}, os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			client, err := net.Dial("tcp", front.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := io.WriteString(client, "hello"); err != nil {
				t.Fatal(err)
			}
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			src, dst, rest, err := Read(c, make([]byte, MaxLength))
			if err != nil {
				t.Fatal(err)
			}
			if src != address(client.LocalAddr()) || dst != address(client.RemoteAddr()) {
				t.Errorf("%v to %v, want %v to %v", src, dst, client.LocalAddr(), client.RemoteAddr())
			}
			after := make([]byte, 5)
			if n := copy(after, rest); n < len(after) {
				if _, err := io.ReadFull(c, after[n:]); err != nil {
					t.Fatal(err)
				}
			}
			if string(after) != "hello" {
				t.Errorf("after the header came %q", after)
			}
		})
	}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
	return ln
}

func address(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
