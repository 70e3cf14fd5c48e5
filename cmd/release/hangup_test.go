package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stalling begins to answer and waits until it is let go.
func stalling(t *testing.T) (url string, asked <-chan struct{}, let func()) {
	t.Helper()
	begun, gone := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(begun) })
		select {
		case <-gone:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte("content"))
	}))
	let = sync.OnceFunc(func() { close(gone) })
	t.Cleanup(func() { let(); server.Close() })
	return server.URL, begun, let
}

// A closed terminal ends a bake as an interrupt does, with its clean-up, however often it is told; with nohup it goes on.
func TestHangup(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		code    int
		say     string
	}{
		"terminal closed": {`exec "$0" bake recipe.yaml`, 130, "interrupted: the terminal was closed"},
		"nohup":           {`trap "" HUP; exec "$0" bake recipe.yaml`, 0, "baked"},
	} {
		t.Run(name, func(t *testing.T) {
			url, asked, let := stalling(t)
			dir := project(t, map[string]string{"recipe.yaml": fmt.Sprintf("base: scratch\nfetch: [{url: %q, to: /x}]\n", url)})
			store := t.TempDir()
			cmd := exec.Command("/bin/sh", "-c", c.command, os.Args[0])
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), programVariable+"=yes", "RELEASE_IMAGES_DIR="+store)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-asked:
			case <-time.After(time.Minute):
				_ = cmd.Process.Kill()
				t.Fatal("the bake asked for nothing")
			}
			for range 3 {
				if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			}
			if c.code == 0 {
				let()
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(stderr.String(), c.say) {
				t.Errorf("exit code %d, want %d: %s", code, c.code, stderr.String())
			}
			if left, err := filepath.Glob(filepath.Join(store, "cache/work/*")); err != nil || len(left) > 0 {
				t.Errorf("left is %v, %v", left, err)
			}
		})
	}
}

// What signs nothing does not read the key.
func TestLockNeedsNoKey(t *testing.T) {
	dir := project(t, map[string]string{"recipe.yaml": smallRecipe})
	const key = "RELEASE_SIGN_KEY=/none/release.key"
	for args, code := range map[string]int{"lock recipe.yaml": 0, "outdated recipe.yaml": 0, "bake recipe.yaml --check": 0, "bake recipe.yaml": 1, "bake recipe.yaml --check --sign /none/release.key": 1} {
		if got := run(t, dir, args, key); got.code != code {
			t.Errorf("%s: %+v, want %d", args, got, code)
		}
	}
}
