package archivetest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/bootandshoot/release/debian/deb"
)

// Package is a package file with its paragraph of an index.
type Package struct {
	Control string // lines of its control file
	Deb     []byte
}

// Made is a made-up package of architecture amd64 without files; more are lines of its control file, such as
// "Depends: libc6\n", which may also name another architecture.
func Made(name, version, more string) Package {
	if !strings.Contains("\n"+more, "\nArchitecture:") {
		more = "Architecture: amd64\n" + more
	}
	control := fmt.Sprintf("Package: %s\nVersion: %s\nMaintainer: Nobody <nobody@mirror.example>\nDescription: made up\n%s", name, version, more)
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	for _, part := range []struct {
		name    string
		content []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", gzipped(archived("./control", control))}, {"data.tar.gz", gzipped(archived("", ""))}} {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", part.name, 0, 0, 0, "100644", len(part.content))
		out.Write(part.content)
		if len(part.content)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return Package{Control: control, Deb: out.Bytes()}
}

// archived is a tar file with one file or none.
func archived(name, content string) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if name != "" {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}) // into memory
		_, _ = w.Write([]byte(content))
	}
	_ = w.Close()
	return out.Bytes()
}

// Real is a package that exists, of the bytes of its file.
func Real(t testing.TB, data []byte) Package {
	t.Helper()
	p, err := deb.Open(bytes.NewReader(data), int64(len(data)), deb.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := p.Control(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return Package{Control: strings.TrimRight(string(files["control"].Data), "\n") + "\n", Deb: data}
}

// Path is where the package's file lies in the archive.
func (p Package) Path() string {
	version := p.field("Version")
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	return fmt.Sprintf("pool/main/%s_%s_%s.deb", p.name(), version, p.field("Architecture"))
}

func (p Package) name() string { return p.field("Package") }

func (p Package) field(name string) string {
	for line := range strings.Lines(p.Control) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
