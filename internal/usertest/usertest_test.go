package usertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestCommandsRunAsTheUser(t *testing.T) {
	u := Need(t)
	script := "id -u; touch here && cat there"
	for name, dir := range map[string]string{"home": u.Dir(t), "temp": u.TempDir(t)} {
		from := filepath.Join(t.TempDir(), "there")
		if err := os.WriteFile(from, []byte("closed"), 0o600); err != nil {
			t.Fatal(err)
		}
		u.Take(t, dir, from)
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = dir
		u.Become(cmd)
		want := strconv.Itoa(u.UID) + "\nclosed"
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		out, err := u.Login("cd " + dir + " && " + script).CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), want) {
			t.Errorf("%s, logged in: %q, %v", name, out, err)
		}
	}
}
