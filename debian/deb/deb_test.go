package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/bootandshoot/release/internal/fault"
)

// archive is an ar archive of names and contents in turn.
func archive(parts ...string) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", parts[i], 0, 0, 0, "100644", len(parts[i+1]), parts[i+1])
		if len(parts[i+1])%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func tarOf(t testing.TB, list ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		content := strings.Repeat("x", int(h.Size))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func compressed(t testing.TB, how, text string) string {
	t.Helper()
	var b bytes.Buffer
	switch how {
	case "":
		return text
	case ".gz":
		w := gzip.NewWriter(&b)
		_, err := io.WriteString(w, text)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	case ".zst":
		w, err := zstd.NewWriter(&b)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	default: // .xz, .bz2
		cmd := exec.Command(map[string]string{".xz": "xz", ".bz2": "bzip2"}[how])
		cmd.Stdin, cmd.Stdout = strings.NewReader(text), &b
		if err := cmd.Run(); err != nil {
			t.Fatalf("this test needs xz and bzip2: %v", err)
		}
	}
	return b.String()
}

func open(data []byte, limits Limits) (names []string, err error) {
	p, err := Open(bytes.NewReader(data), int64(len(data)), limits)
	if err != nil {
		return nil, err
	}
	if _, err := p.Control(context.Background()); err != nil {
		return nil, err
	}
	err = p.Each(context.Background(), func(e Entry, r io.Reader) error {
		n, err := io.Copy(io.Discard, r)
		if err == nil && n != e.Size {
			err = fmt.Errorf("%s has %d bytes of %d", e.Path, n, e.Size)
		}
		names = append(names, e.Path)
		return err
	})
	return names, err
}

func control(t testing.TB) string {
	return tarOf(t, tar.Header{Name: "./control", Typeflag: tar.TypeReg, Size: 10})
}

func TestCompressions(t *testing.T) {
	data := tarOf(t, tar.Header{Name: "./", Typeflag: tar.TypeDir}, tar.Header{Name: "./usr/bin/x", Typeflag: tar.TypeReg, Size: 100_000})
	for _, how := range []string{"", ".gz", ".xz", ".zst", ".bz2"} {
		whole := archive("debian-binary", "2.0\n", "_ignored", "?", "control.tar"+how, compressed(t, how, control(t)), "data.tar"+how, compressed(t, how, data), "more", "?")
		names, err := open(whole, Limits{})
		if err != nil || cmp.Diff(names, []string{".", "usr/bin/x"}) != "" {
			t.Errorf("%q: %v, %v", how, names, err)
		}
		end := bytes.Index(whole, []byte("more  "))
		for n := range end {
			if n%7 == 0 || n > end-100 {
				if _, err := open(whole[:n], Limits{}); err == nil && n < end-1 {
					t.Errorf("%q: nothing is wrong with %d bytes of %d", how, n, end)
				} else if f := (*fault.Error)(nil); err != nil && !errors.As(err, &f) {
					t.Errorf("%q: %d bytes: an error without a code: %v", how, n, err)
				}
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	data := func(list ...tar.Header) []byte {
		return archive("debian-binary", "2.0\n", "control.tar", control(t), "data.tar.gz", compressed(t, ".gz", tarOf(t, list...)))
	}
	reg := func(name string, size int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size}
	}
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"upward", data(reg("./a/../../b", 0)), "leads upward"},
		{"line break", data(reg("./a\nb", 0)), "line break"},
		{"twice", data(reg("./a", 0), reg("./a", 1)), "comes twice"},
		{"through a link", data(tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/"}, reg("a/b", 0)), "leads through"},
		{"through a file", data(reg("a", 0), reg("a/b/c", 0)), "leads through"},
		{"hard link to nothing", data(tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}), "no earlier file"},
		{"hard link to a folder", data(tar.Header{Name: "b", Typeflag: tar.TypeDir}, tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}), "no earlier file"},
		{"root no folder", data(reg(".", 0)), "root is no folder"},
		{"too much", data(reg("a", 5000)), "unpacks to more than"},
		{"too many", data(reg("a", 0), reg("b", 0), reg("c", 0), reg("d", 0)), "more than 3 entries"},
		{"no control", archive("debian-binary", "2.0\n", "control.tar", tarOf(t), "data.tar", tarOf(t)), "no control file"},
		{"format", archive("debian-binary", "3.0\n", "control.tar", control(t), "data.tar", ""), "its format is"},
		{"order", archive("debian-binary", "2.0\n", "data.tar", "", "control.tar", control(t)), "not expected"},
		{"not known", archive("debian-binary", "2.0\n", "control.tar", control(t), "data.tar.7z", ""), "compressed in a way"},
		{"no data", archive("debian-binary", "2.0\n", "control.tar", control(t)), "it has no data.tar"},
		{"no ar", []byte("<html></html>"), "no ar archive"},
	} {
		_, err := open(test.data, Limits{Entries: 3, Bytes: 4096, Ratio: 10})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// FuzzPackage reads anything as a package: whatever comes out is clean.
func FuzzPackage(f *testing.F) {
	for _, how := range []string{"", ".gz", ".zst"} {
		f.Add(archive("debian-binary", "2.0\n", "control.tar", control(f), "data.tar"+how, compressed(f, how, tarOf(f,
			tar.Header{Name: "./", Typeflag: tar.TypeDir}, tar.Header{Name: "./a", Typeflag: tar.TypeReg, Size: 3},
			tar.Header{Name: "./b", Typeflag: tar.TypeLink, Linkname: "./a"}, tar.Header{Name: "./c", Typeflag: tar.TypeSymlink, Linkname: "/x"}))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := open(data, Limits{Bytes: 1 << 20, Entries: 1000, Control: 1 << 20, Ratio: 100})
		for _, name := range names {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") || strings.ContainsAny(name, "\n\x00") || name == "" {
				t.Errorf("the name %q came through", name)
			}
		}
		if f := (*fault.Error)(nil); err != nil && !errors.As(err, &f) && !strings.Contains(err.Error(), "bytes of") {
			t.Errorf("an error without a code: %v", err)
		}
	})
}

// FuzzTar is FuzzPackage for the data member alone, which the fuzzer reaches more easily so.
func FuzzTar(f *testing.F) {
	f.Add([]byte(tarOf(f, tar.Header{Name: "./", Typeflag: tar.TypeDir}, tar.Header{Name: "./a", Typeflag: tar.TypeReg, Size: 3})))
	head := control(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		names, _ := open(archive("debian-binary", "2.0\n", "control.tar", head, "data.tar", string(data)), Limits{Bytes: 1 << 20, Entries: 1000})
		for _, name := range names {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") || strings.ContainsAny(name, "\n\x00") || name == "" {
				t.Errorf("the name %q came through", name)
			}
		}
	})
}
