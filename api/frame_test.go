package api

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	long := bytes.Repeat([]byte("x"), 100_000)
	if n, err := (FrameWriter{W: &b, Kind: FrameStdout}).Write(long); n != len(long) || err != nil {
		t.Fatal(n, err)
	}
	if err := WriteFrame(&b, FrameExit, nil); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for {
		kind, payload, err := ReadFrame(&b)
		if err != nil {
			t.Fatal(err)
		}
		if kind == FrameExit {
			break
		}
		got = append(got, payload...)
	}
	if !bytes.Equal(got, long) {
		t.Errorf("%d bytes came of %d", len(got), len(long))
	}
	if _, _, err := ReadFrame(&b); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
	if err := WriteFrame(&b, FrameStdin, make([]byte, maxFrame+1)); err == nil {
		t.Error("a frame that is too long was written")
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 'x'})
	f.Add([]byte{1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, payload, err := ReadFrame(bytes.NewReader(data)); err == nil && len(payload) > len(data) {
			t.Errorf("%d bytes of %d", len(payload), len(data))
		}
	})
}

func TestErrorOverTheWire(t *testing.T) {
	for _, err := range []error{
		nil,
		errors.New("plain"),
		fault.New(fault.Busy, "held").WithHint("wait"),
		fault.List{fault.New(fault.Invalid, "one").At("f", 1, 2), fault.New(fault.Invalid, "two").At("f", 3, 4)},
	} {
		back := ErrorOf(err).Fault()
		if err == nil {
			if back != nil {
				t.Errorf("no error came back as %v", back)
			}
			continue
		}
		want, have := fault.All(err), fault.All(back)
		if len(want) != len(have) {
			t.Fatalf("%v came back as %v", err, back)
		}
		for i := range want {
			if want[i].Code != have[i].Code || want[i].Message != have[i].Message || want[i].Hint != have[i].Hint || want[i].Position() != have[i].Position() {
				t.Errorf("%#v came back as %#v", want[i], have[i])
			}
		}
	}
}
