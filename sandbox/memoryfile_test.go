package sandbox

import (
	"os"
	"strings"
	"testing"
)

// TestMountsInMemory: a file in memory is the command's user's alone, and leaves nothing on the disk.
func TestMountsInMemory(t *testing.T) {
	for user, owner := range map[string]string{"": "0 400 top", "7:9": "7 400 top"} {
		if user != "" && os.Geteuid() != 0 {
			continue // the range of ids is that of another test
		}
		s := newRoot(t)
		s.User = user
		s.Mounts = append(s.Mounts, Mount{Target: "/run/secrets/one", Memory: true, Content: []byte("top")}, Mount{Target: "/run/secrets/none", Memory: true})
		out, exit := shell(t, s, "echo $(stat -c '%u %a' /run/secrets/one) $(cat /run/secrets/one); wc -c < /run/secrets/none; env | grep top; cat /proc/1/environ /proc/1/cmdline 2>/dev/null | grep top")
		if out != owner+"\n0\n" {
			t.Errorf("user %q: %q %+v", user, out, exit)
		}
		if _, err := os.Stat(s.Root.Upper + "/run"); !os.IsNotExist(err) {
			t.Errorf("the mount left a trace in the upper folder: %v", err)
		}
	}
	s := newRoot(t)
	big := strings.Repeat("0123456789abcdef", 1<<16)
	s.Mounts = append(s.Mounts, Mount{Target: "/x", Memory: true, Content: []byte(big)})
	if out, _ := shell(t, s, "wc -c < /x"); strings.TrimSpace(out) != "1048576" {
		t.Errorf("1 MiB in memory: %q", out)
	}
}
