package dockerapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

// frame is one of the engine's.
func frame(kind byte, payload string) []byte {
	b := make([]byte, frameHeader, frameHeader+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	return append(b, payload...)
}

func TestDemultiplex(t *testing.T) {
	const t1, t2 = "2026-01-02T03:04:05.000000001Z", "2026-01-02T03:04:06.000000000Z"
	in := slices.Concat(
		frame(frameStdout, t1+" long "), frame(frameStderr, t2+" other\n"), frame(frameStdout, t2+" line\n"),
		frame(frameStderr, t2+" \n"), frame(frameStdout, t1+" open"),
	)
	want := "2026-01-02T03:04:06Z err other\n" + t1 + " out long line\n2026-01-02T03:04:06Z err \n" + t1 + " out open\n"
	var out bytes.Buffer
	if err := demultiplex(&out, bytes.NewReader(in)); err != nil || out.String() != want {
		t.Errorf("got %q, error %v; want %q", out.String(), err, want)
	}
	for name, bad := range map[string][]byte{
		"cut header": in[:5], "cut payload": in[:20], "not a frame": []byte("HTTP/1.1 200"), "engine error": frame(frameError, "broken"),
	} {
		if err := demultiplex(&out, bytes.NewReader(bad)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzDemultiplex(f *testing.F) {
	f.Add(frame(frameStdout, "2026-01-02T03:04:05Z text\n"))
	f.Add(slices.Concat(frame(frameStderr, "a"), frame(frameStdout, "b c"))[:18])
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		if err := demultiplex(&out, bytes.NewReader(in)); err == nil && out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			t.Errorf("the last line is open: %q", out.String())
		}
	})
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		code fault.Code
	}{
		{fmt.Errorf("Error response from daemon: write /var/lib: no space left on device"), fault.NoSpace},
		{context.DeadlineExceeded, fault.Unavailable},
		{fmt.Errorf("read: %w", os.ErrPermission), fault.Denied},
		{fmt.Errorf("other"), fault.Failed},
		{context.Canceled, fault.Failed},
	} {
		err := Explain(c.err, "do %s", "it")
		if !fault.Is(err, c.code) || !strings.HasPrefix(err.Error(), "do it: ") {
			t.Errorf("%v becomes %v of class %s, want %s", c.err, err, fault.CodeOf(err), c.code)
		}
	}
	if Explain(nil, "do it") != nil {
		t.Error("no error becomes one")
	}
}
