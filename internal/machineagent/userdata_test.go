package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
)

// TestUserData: an instance of EC2 brings its network up and asks; any other machine does neither.
func TestUserData(t *testing.T) {
	server := awstest.Start(t, awstest.Options{UserData: `{"schema":1,"hostname":"n1"}`})
	address := strings.TrimPrefix(server.URL, "http://")
	for vendor, want := range map[string]string{"Amazon EC2\n": `{"schema":1,"hostname":"n1"}`, "QEMU\n": "", "": ""} {
		file := filepath.Join(t.TempDir(), "sys_vendor")
		if vendor != "" {
			if err := os.WriteFile(file, []byte(vendor), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before, up := len(server.Calls()), false
		got, err := userData(file, address, func() bool { up = true; return true })
		asked := len(server.Calls()) > before
		if err != nil || string(got) != want || up != (want != "") || asked != up {
			t.Errorf("vendor %q: %q %v, network %v, asked %v", vendor, got, err, up, asked)
		}
	}
}
