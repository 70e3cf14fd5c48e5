package ami

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

// serveVariable makes this test program a server of awstest until its input ends.
const serveVariable = "RELEASE_TEST_SERVE_AWS"

// aloneVariable says that this process is for TestMemory alone: what other tests left behind is not counted.
const aloneVariable = "RELEASE_TEST_MEMORY"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		serve()
		return
	}
	os.Exit(m.Run())
}

// serve is the server of TestMemory, in a process of its own so that the blocks it keeps are not counted.
func serve() {
	front := httptest.NewServer(awstest.New(awstest.Options{}))
	defer front.Close()
	fmt.Println("serves", front.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestMemory: an upload with 64 requests in flight takes at most 200 MB, whatever the size of the disk.
func TestMemory(t *testing.T) {
	const blocks = 400 // 200 MiB: one that is held whole is over the limit with all else
	if os.Getenv(aloneVariable) == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
		child.Env = append(os.Environ(), aloneVariable+"=1")
		out, err := child.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Error(err)
		}
		return
	}
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), serveVariable+"=1")
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := server.Wait(); err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "serves ")
	if err != nil || !ok {
		t.Fatalf("the server says %q: %v", line, err)
	}
	(&awstest.Server{URL: url}).Use(t)
	c := &cloud{t: t, installation: "test-memory", dir: t.TempDir()}
	s := c.store(func(_ *awsapi.Options, o *Options) { o.Poll = 5 * time.Millisecond })
	d := Disk{Content: counted{}, Size: blocks * BlockSize, Digest: "sha256:" + strings.Repeat("ab", 32)}
	before := memory(t, "VmHWM")
	began := time.Now()
	n, err := s.Upload(t.Context(), d)
	if err != nil || !n.Whole {
		t.Fatalf("%+v %v", n, err)
	}
	after := memory(t, "VmHWM")
	t.Logf("%d blocks in %s; memory was %d MB before and at most %d MB", blocks, time.Since(began).Round(time.Millisecond), before>>20, after>>20)
	limit := int64(200 << 20)
	if raceDetector { // which keeps several bytes for each byte that is shared
		limit *= 2
	}
	if after-before > limit {
		t.Errorf("the upload took %d MB", (after-before)>>20)
	}
}

// counted is a disk without an end whose blocks differ.
type counted struct{}

func (counted) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	binary.BigEndian.PutUint64(p, uint64(at)+1)
	return len(p), nil
}

// memory is a line of /proc/self/status (proc(5)), in bytes.
func memory(t *testing.T, name string) (bytes int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	if _, err := fmt.Sscanf(rest, "%d kB", &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}
