package recipes_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// A pipe, a device or a huge file in the place of a recipe, a lockfile or patterns is refused at once.
func TestSpecialFiles(t *testing.T) {
	project(t, map[string]string{"good.yaml": "base: scratch\n"})
	if err := errors.Join(syscall.Mkfifo("pipe.yaml", 0o600), os.Symlink("/dev/zero", "device.yaml"), os.WriteFile("huge.yaml", nil, 0o600), os.Truncate("huge.yaml", 1<<40)); err != nil {
		t.Fatal(err)
	}
	load := func(name string) error { _, err := recipes.Load(name); return err }
	lock := func(name string) error { _, err := recipes.LoadLock(name); return err }
	for name, c := range map[string]struct {
		read func(name string) error
		file string
		say  string
	}{
		"recipe, pipe":     {load, "pipe.yaml", "it is a pipe"},
		"recipe, device":   {load, "device.yaml", "it is a device"},
		"recipe, huge":     {load, "huge.yaml", "larger than"},
		"lockfile, pipe":   {lock, "pipe.yaml", "it is a pipe"},
		"lockfile, device": {lock, "device.yaml", "it is a device"},
		"lockfile, huge":   {lock, "huge.yaml", "larger than"},
		"patterns, pipe": {func(name string) error {
			if err := errors.Join(os.Symlink(name, ".releaseignore"), os.WriteFile("good.yaml", []byte("base: scratch\ncopy: [{from: ., to: /}]\n"), 0o600)); err != nil {
				return err
			}
			return load("good.yaml")
		}, "pipe.yaml", "it is a pipe"},
	} {
		done := make(chan error, 1)
		go func() { done <- c.read(c.file) }()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), c.say) || !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it hangs", name)
		}
	}
}
