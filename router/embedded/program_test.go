package embedded

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programEnv names the program that withoutRaceDetector gives, for a test that goes on in a process of its own.
const programEnv = "TEST_ROUTER_PROGRAM"

// programs is the folder of what was built, "" while nothing was. TestMain removes it.
var programs string

// plainProgram builds it once, in seconds: what it consists of is built already.
var plainProgram = sync.OnceValues(func() (path string, err error) {
	if programs, err = os.MkdirTemp("", "router-program-"); err != nil {
		return "", err
	}
	path = filepath.Join(programs, "router.test")
	cmd := exec.Command("go", "test", "-c", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})

// withoutRaceDetector is this test's program as users would have it: with the race detector a process takes so long to start that
// no limit on that would say anything.
func withoutRaceDetector(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(programEnv); path != "" {
		return path
	}
	own, err := os.Executable()
	if err == nil && raceDetector {
		own, err = plainProgram()
	}
	if err != nil {
		t.Fatal(err)
	}
	return own
}
