package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

// made is a package made up by a test.
type made struct {
	name    string
	fields  string            // further lines of its control file
	control map[string]string // file → content; those named like scripts are executable
	files   []tar.Header      // Name, Typeflag …; content is in PAXRecords["content"]
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o644, PAXRecords: map[string]string{"content": content}}
}

func dir(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: "./" + name + "/", Mode: mode}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: "./" + name, Linkname: target, Mode: 0o777}
}

// deb is the package's file.
func (m made) deb(t testing.TB) []byte {
	t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: made up\n%s", m.name, m.fields)
	list := []tar.Header{file("control", strings.TrimRight(control, "\n")+"\n")}
	for name, content := range m.control {
		h := file(name, content)
		if strings.HasPrefix(content, "#!") {
			h.Mode = 0o755
		}
		list = append(list, h)
	}
	data := m.files
	if len(data) == 0 || data[0].Name != "././" {
		data = append([]tar.Header{dir(".", 0o755)}, data...)
	}
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	for _, part := range []struct {
		name    string
		content []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", packed(t, list)}, {"data.tar.gz", packed(t, data)}} {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", part.name, 0, 0, 0, "100644", len(part.content))
		out.Write(part.content)
		if len(part.content)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

func packed(t testing.TB, list []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, h := range list {
		content := h.PAXRecords["content"]
		records := map[string]string{}
		for k, v := range h.PAXRecords {
			if k != "content" {
				records[k] = v
			}
		}
		h.PAXRecords = records
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil && h.Typeflag == tar.TypeReg {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (m made) item(t testing.TB) Item {
	t.Helper()
	return itemOf(t, save(t, m.name, m.deb(t)))
}

func save(t testing.TB, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+"_1.0_all.deb")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func items(t testing.TB, list ...made) []Item {
	t.Helper()
	var all []Item
	for _, m := range list {
		all = append(all, m.item(t))
	}
	return all
}

// noise does not compress.
func noise() string {
	var b strings.Builder
	for range 50_000 {
		b.WriteString(rand.Text())
	}
	return b.String()
}

// script is a shell script that ends with the first command that fails.
func script(lines string) string { return "#!/bin/sh\nset -e\n" + lines + "\n" }

func TestPackageSemantics(t *testing.T) {
	s := base(t)
	setuid := file("usr/bin/made-setuid", "x")
	setuid.Mode, setuid.Gid = 0o6755, 42
	capable := file("usr/bin/made-capable", "x")
	capable.PAXRecords["SCHILY.xattr.security.capability"] = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, test := range []struct {
		name    string
		batches [][]made
		command string // in the system
		want    string
	}{
		{"hard links, setuid, capabilities, owners", [][]made{{{name: "a", files: []tar.Header{
			dir("usr", 0o755), dir("usr/bin", 0o755), setuid, capable, file("usr/bin/z-first", "same"),
			{Typeflag: tar.TypeLink, Name: "./usr/bin/a-second", Linkname: "./usr/bin/z-first"},
			{Typeflag: tar.TypeFifo, Name: "./usr/share/made-pipe", Mode: 0o600},
		}}}}, "stat -c '%a %U:%G' /usr/bin/made-setuid; getfattr --version >/dev/null 2>&1; test /usr/bin/a-second -ef /usr/bin/z-first && stat -c %h /usr/bin/z-first; test -p /usr/share/made-pipe && echo pipe",
			"6755 root:shadow\n2\npipe\n"},
		{"names through the links of a merged usr", [][]made{{{name: "a", files: []tar.Header{dir("bin", 0o755), file("bin/made", "x"), file("lib/made/file", "y")}}}},
			"cat /usr/bin/made /usr/lib/made/file; grep made /var/lib/dpkg/info/a.list; readlink /bin", "xy/bin/made\n/lib/made/file\nusr/bin\n"},
		{"the first package decides on a folder", [][]made{{
			{name: "a", files: []tar.Header{dir("opt/made", 0o750), file("opt/made/a", "")}},
			{name: "b", files: []tar.Header{dir("opt/made", 0o777), dir("var/mail", 0o700), file("opt/made/b", "")}}}},
			"stat -c %a /opt/made /var/mail", "750\n2775\n"},
		{"a taken-over file", [][]made{{
			{name: "a", files: []tar.Header{file("opt/made", "old"), file("opt/other", "")}},
			{name: "b", fields: "Replaces: a (<< 2)\n", files: []tar.Header{file("opt/made", "new")}}}},
			"cat /opt/made; grep -c made /var/lib/dpkg/info/a.list; dpkg -S /opt/made", "new0\nb: /opt/made\n"},
		{"a file taken over from an earlier batch", [][]made{
			{{name: "a", files: []tar.Header{file("opt/made", "old"), file("opt/other", "")}}},
			{{name: "b", fields: "Pre-Depends: a\nReplaces: a\n", control: map[string]string{"preinst": script("cat /opt/made > /opt/seen")}, files: []tar.Header{file("opt/made", "new")}}}},
			"cat /opt/made /opt/seen; dpkg -S /opt/made", "newoldb: /opt/made\n"},
		{"the earlier one replaces the later", [][]made{{
			{name: "a", fields: "Replaces: b\n", files: []tar.Header{file("opt/made", "a's")}},
			{name: "b", files: []tar.Header{file("opt/made", "b's"), file("opt/b", "")}}}},
			"cat /opt/made; dpkg -S /opt/made", "a'sa: /opt/made\n"},
		{"a diversion by a preinst", [][]made{{
			{name: "a", control: map[string]string{"preinst": script("dpkg-divert --package a --add --no-rename --divert /opt/made.b /opt/made")}, files: []tar.Header{file("opt/made", "a's")}},
			{name: "b", files: []tar.Header{file("opt/made", "b's")}}}},
			"cat /opt/made /opt/made.b; dpkg -V", "a'sb's"},
		{"a statoverride by a preinst", [][]made{{
			{name: "a", control: map[string]string{"preinst": script("dpkg-statoverride --add games games 2751 /opt/made")}, files: []tar.Header{file("opt/made", "")}}}},
			"stat -c '%a %U:%G' /opt/made", "2751 games:games\n"},
		{"a folder that a preinst emptied", [][]made{{
			{name: "a", control: map[string]string{"preinst": script("rm -r /var/local && mkdir /var/local; rm -r /usr/share/doc/mawk; rm -rf /etc/apt; mkdir /etc/apt")},
				files: []tar.Header{file("var/local/made", "x"), file("etc/apt/made", "y"), file("usr/share/doc/mawk/made", "z")}}}},
			"cat /var/local/made /etc/apt/made /usr/share/doc/mawk/made; ls /etc/apt /usr/share/doc/mawk", "xyz/etc/apt:\nmade\n\n/usr/share/doc/mawk:\nmade\n"},
		{"conffiles", [][]made{{
			{name: "a", control: map[string]string{"preinst": script("echo mine > /etc/made-theirs"), "conffiles": "/etc/made\n/etc/made-theirs\n"},
				files: []tar.Header{file("etc/made", "x\n"), file("etc/made-theirs", "theirs\n")}}}},
			"dpkg-query -W -f '${Conffiles}\n' a; cat /etc/made /etc/made-theirs; dpkg -V", " /etc/made 401b30e3b8b5d629635a5c613cdb7919\n /etc/made-theirs 4b60e63c902af33ad002c798dc6b91e6\nx\nmine\n??5?????? c /etc/made-theirs\n"},
		{"triggers of files and by name", [][]made{
			{{name: "a", control: map[string]string{"triggers": "interest-noawait /opt/watched\ninterest named\n",
				"postinst": script("if [ $1 = triggered ]; then echo \"$2\" >> /opt/triggered; fi")}}},
			{{name: "b", fields: "Pre-Depends: a\n", control: map[string]string{"preinst": script(":"), "triggers": "activate-noawait named\n"}, files: []tar.Header{file("opt/watched/deep/made", "")}}}},
			"tr ' ' '\\n' < /opt/triggered | sort", "/opt/watched\nnamed\n"},
		{"the environment of scripts", [][]made{{
			{name: "a", control: map[string]string{
				"preinst":  script("echo $0 $* $DPKG_MAINTSCRIPT_NAME $DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_ARCH $(pwd) $(umask) $TZ $SOURCE_DATE_EPOCH $DEBIAN_FRONTEND > /opt/env; dpkg --compare-versions $DPKG_RUNNING_VERSION gt 1.18"),
				"postinst": script("invoke-rc.d cron start; start-stop-daemon --start --exec /bin/false; echo $* >> /opt/env")}}}},
			"cat /opt/env", "/var/lib/dpkg/tmp.ci/preinst install preinst a all / 0022 UTC 1700000000 noninteractive\nconfigure\n"},
		{"a link to a folder, and what comes through it", [][]made{{
			{name: "a", files: []tar.Header{dir("opt/real", 0o755), symlink("opt/link", "real")}},
			// Larger: it is unpacked first, and finds no link.
			{name: "b", files: []tar.Header{dir("opt/link", 0o755), file("opt/link/deep/made", rand.Text()), file("opt/link/made", "x"), file("opt/b", noise())}}}},
			"readlink /opt/link; cat /opt/real/made; grep -c opt/link/made /var/lib/dpkg/info/b.list", "real\nx1\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var batches [][]Item
			for _, list := range test.batches {
				batches = append(batches, items(t, list...))
			}
			layers, err := s.on(t, batches...)
			if err != nil {
				t.Fatal(err)
			}
			all := slices.Concat(s.layers, layers)
			if got, _ := s.try(t, all, test.command); got != test.want {
				t.Errorf("%s\n%q, want\n%q", test.command, got, test.want)
			}
			if out := s.shell(t, all, "dpkg --audit; dpkg -l | grep '^[a-z]' | grep -v '^ii'; true"); out != "" {
				t.Error(out)
			}
		})
	}
}

func TestBadPackages(t *testing.T) {
	s := base(t)
	whole := made{name: "whole", files: []tar.Header{file("opt/made", strings.Repeat("content ", 10_000))}}.deb(t)
	good := made{name: "good", files: []tar.Header{file("opt/good", "")}}
	for _, test := range []struct {
		name string
		list []Item
		want []string // parts of the error
	}{
		{"truncated", []Item{{Package: itemOf(t, save(t, "whole", whole)).Package, File: save(t, "cut", whole[:len(whole)-100])}},
			[]string{"whole", "truncated", "data.tar.gz", "fetch the package again"}},
		{"no package", []Item{{Package: itemOf(t, save(t, "whole", whole)).Package, File: save(t, "none", []byte("<html>"))}}, []string{"whole", "_1.0_all.deb"}},
		{"another package", []Item{{Package: good.item(t).Package, File: save(t, "good", whole)}}, []string{"the file holds whole"}},
		{"a name that leads upward", items(t, made{name: "bad", files: []tar.Header{file("../../etc/made", "")}}), []string{"package bad", "../../etc/made", "leads upward"}},
		{"a way through a link of its own", items(t, made{name: "bad", files: []tar.Header{symlink("opt/out", "/etc"), file("opt/out/made", "")}}),
			[]string{"package bad", "opt/out/made", "opt/out"}},
		{"a hard link to nothing", items(t, made{name: "bad", files: []tar.Header{{Typeflag: tar.TypeLink, Name: "./opt/made", Linkname: "/etc/shadow"}}}),
			[]string{"package bad", "opt/made", "etc/shadow"}},
		{"a bomb", items(t, made{name: "bad", files: []tar.Header{file("opt/made", strings.Repeat("\x00", 200<<20))}}), []string{"package bad", "unpacks to more than"}},
		{"a preinst that fails", items(t, good, made{name: "bad", control: map[string]string{"preinst": script("echo oh no; exit 7")}}),
			[]string{"package bad 1.0", "preinst", "exit code 7", "oh no"}},
		{"a postinst that fails", items(t, good, made{name: "bad", control: map[string]string{"postinst": script("echo oh no; exit 7")}}),
			[]string{"package bad 1.0", "postinst", "exit status 7", "oh no"}},
		{"two packages with one file", items(t, good, made{name: "bad", files: []tar.Header{file("opt/good", "")}}), []string{"package bad", "opt/good", "package good"}},
		{"a file of an installed package", items(t, made{name: "bad", files: []tar.Header{file("bin/bash", "")}}), []string{"package bad", "bin/bash", "package bash"}},
		{"a file where a folder is", items(t, made{name: "bad", files: []tar.Header{file("usr/bin", "")}}), []string{"package bad", "usr/bin", "folder"}},
		{"a folder where a file is", items(t, made{name: "bad", files: []tar.Header{file("usr/bin/bash/made", "")}}), []string{"package bad", "usr/bin/bash"}},
		{"the sign of a removed file", items(t, made{name: "bad", files: []tar.Header{file("etc/.wh.passwd", "")}}), []string{"package bad", "/etc/.wh.passwd", "leave the package out"}},
		{"the device of a removed file", items(t, made{name: "bad", files: []tar.Header{{Typeflag: tar.TypeChar, Name: "./etc/passwd"}}}),
			[]string{"package bad", "/etc/passwd", "0:0"}},
		{"dpkg's own files", items(t, made{name: "bad", files: []tar.Header{file("var/lib/dpkg/info/bash.postinst", "")}}), []string{"package bad", "/var/lib/dpkg/info/bash.postinst", "database"}},
		{"installed already", []Item{s.items[0]}, []string{s.items[0].Package.Name, "installed already"}},
		{"a missing dependency", items(t, made{name: "bad", fields: "Depends: nowhere\n"}), []string{"package bad", "nowhere"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := s.on(t, test.list)
			if err == nil {
				t.Fatal("installed")
			}
			var f *fault.Error
			text := err.Error()
			if errors.As(err, &f) {
				text += "\n" + f.Hint
			}
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in: %s", want, text)
				}
			}
			if f == nil || f.Hint == "" {
				t.Errorf("no hint: %v", err)
			}
		})
	}
}
