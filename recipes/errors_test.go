package recipes_test

import (
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// Each case is what follows "base: scratch" in p/r.yaml, or a whole recipe, and the whole error text; PROJECT stands for the
// project's folder.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"empty":            {"={}", `1:1: base is missing`},
		"list":             {"=[]", `1:1: the file must be a mapping, not a list`},
		"unknown":          {"copi: []\n", `2:1: unknown key "copi", did you mean "copy"?`},
		"packages":         {"packages: [nginx]\n", `2:12: packages need a Debian release as base`},
		"package case":     {"=base: {debian: bookworm}\npackages: [Nginx=1.*]\n", `2:12: packages[0] "Nginx=1.*": names of packages are in lower case, without blanks`},
		"package blank":    {"=base: {debian: bookworm}\npackages: ['jq ']\n", `2:12: packages[0] "jq ": names of packages are in lower case, without blanks`},
		"package form":     {"=base: {debian: bookworm}\npackages: [a_b]\n", `2:12: packages[0] "a_b" must be name, name=version, name/suite or name-`},
		"debian":           {"=base: {debian: bookworm, image: \"a:1\"}\n", `1:7: base.image stands alone: the other keys are for debian`},
		"base text":        {"=base: debian\n", `1:7: base must be scratch or a mapping, not text "debian"`},
		"base empty":       {"=base: {}\n", `1:7: base needs image or debian`},
		"base key":         {"=base: {imagee: x}\n", `1:8: unknown key "imagee" in base, did you mean "image"?`},
		"base no tag":      {"=base: {image: debian}\n", `1:15: base.image "debian" has neither tag nor digest`},
		"base bad":         {"=base: {image: \"De bian:1\"}\n", `1:15: base.image "De bian:1" is not a registry reference`},
		"base file":        {"=base: {image: ./none.tar}\n", `1:15: base.image ./none.tar: no such file or folder`},
		"base folder":      {"=base: {image: ./dir}\n", `1:15: base.image ./dir: the folder is not an OCI layout: it has no file oci-layout`},
		"name":             {"name: Shop\n", `2:7: name "Shop" must be 1 to 63 of a-z, 0-9, dot, - and _, beginning and ending with a letter or digit`},
		"name empty":       {"name: \"\"\n", `2:7: name "" must be 1 to 63 of a-z, 0-9, dot, - and _, beginning and ending with a letter or digit`},
		"copy keys":        {"copy: [{form: a}]\n", "2:8: copy[0].from is missing\n2:8: copy[0].to is missing\n2:9: unknown key \"form\" in copy[0], did you mean \"from\"?"},
		"copy missing":     {"copy: [{from: nothing, to: /a}]\n", `2:15: copy[0].from nothing: no such file or folder`},
		"copy absolute":    {"copy: [{from: /etc/passwd, to: /a}]\n", `2:15: copy[0].from /etc/passwd: the path is absolute; it must be relative to the recipe and stay in the project PROJECT`},
		"copy escape":      {"copy: [{from: ../../x, to: /a}]\n", `2:15: copy[0].from ../../x: the path leaves the project PROJECT`},
		"copy link":        {"copy: [{from: out, to: /a}]\n", `2:15: copy[0].from out: a link on the path leaves the project PROJECT`},
		"copy link folder": {"copy: [{from: outdir/hosts, to: /a}]\n", `2:15: copy[0].from outdir/hosts: a link on the path leaves the project PROJECT`},
		"copy pipe":        {"copy: [{from: pipe, to: /a}]\n", `2:15: copy[0].from pipe: is neither a file nor a folder`},
		"base pipe":        {"=base: {image: ./pipe}\n", `1:15: base.image ./pipe: is neither a file nor a folder`},
		"include pipe":     {"include: [pipe]\n", `2:11: include pipe: it is a pipe, wanted is a file`},
		"extension pipe":   {"extensions: [{name: a, version: \"1\", source: ./pipe, path: /a}]\n", `2:46: extensions[0].source ./pipe: is neither a file nor a folder`},
		"file pipe":        {"files: [{from: pipe, to: /a}]\n", `2:16: files[0].from pipe: is no file`},
		"copy ignored":     {"copy: [{from: left, to: /a}]\n", `2:15: copy[0].from left: left out by p/.releaseignore:1`},
		"extension left":   {"extensions: [{name: a, version: \"1\", source: ./left, path: /a}]\n", `2:46: extensions[0].source ./left: left out by p/.releaseignore:1`},
		"copy git":         {"copy: [{from: ../.git, to: /a}]\n", `2:15: copy[0].from ../.git: left out by the rule that .git is never copied`},
		"copy empty":       {"copy: [{from: \"\", to: /a}]\n", `2:15: copy[0].from : the path is empty`},
		"copy to":          {"copy: [{from: file, to: a}]\n", `2:25: copy[0].to "a" must be an absolute path in the image`},
		"copy to up":       {"copy: [{from: file, to: /a/../../b}]\n", `2:25: copy[0].to "/a/../../b" must not contain ..`},
		"copy to control":  {"copy: [{from: file, to: \"/a\\n\"}]\n", `2:25: copy[0].to "/a\n" must not contain control characters`},
		"copy mode number": {"copy: [{from: file, to: /a, mode: 0644}]\n", `2:35: copy[0].mode must be text, not a number 0644`},
		"copy mode":        {"copy:\n  - {from: file, to: /a, mode: \"0698\"}\n", `3:32: copy[0].mode "0698" must be three or four octal digits such as "0644"`},
		"copy mode rwx":    {"copy: [{from: file, to: /a, mode: rw-r--r--}]\n", `2:35: copy[0].mode "rw-r--r--" must be three or four octal digits such as "0644"`},
		"copy owner":       {"copy: [{from: file, to: /a, owner: \"a b\"}]\n", `2:36: copy[0].owner "a b" must be name, uid, name:group or uid:gid, ids up to 65535`},
		"copy owner id":    {"copy: [{from: file, to: /a, owner: \"70000\"}]\n", `2:36: copy[0].owner "70000" must be name, uid, name:group or uid:gid, ids up to 65535`},
		"copy owner empty": {"copy: [{from: file, to: /a, owner: \"\"}]\n", `2:36: copy[0].owner "" must be name, uid, name:group or uid:gid, ids up to 65535`},
		"fetch":            {"fetch: [{url: \"ftp://x/y\", sha256: abc}]\n", "2:9: fetch[0] needs to or unpack\n2:15: fetch[0].url \"ftp://x/y\" must be an http or https address\n2:36: fetch[0].sha256 must be 64 hex digits, not 3 characters"},
		"fetch folder":     {"fetch: [{url: \"https://x/y\", to: /a/}]\n", `2:34: fetch[0].to "/a/" must be the path of a file`},
		"fetch unpack":     {"fetch: [{url: \"https://x/y\", unpack: a}]\n", `2:38: fetch[0].unpack "a" must be an absolute path in the image`},
		"fetch password":   {"fetch: [{url: \"https://u:p@x/y\", to: /a}]\n", `2:15: fetch[0].url must not hold a user or password`},
		"git keys":         {"git: [{url: \"https://x/y\"}]\n", "2:7: git[0].ref is missing\n2:7: git[0].to is missing"},
		"git option":       {"git: [{url: \"--upload-pack=x\", ref: -x, to: /a}]\n", "2:13: git[0].url \"--upload-pack=x\" must be an https, http, ssh, git or file address, or user@host:path\n2:37: git[0].ref \"-x\" must be a branch, a tag or a commit"},
		"git ext":          {"git: [{url: \"ext::sh -c x\", ref: a, to: /a}]\n", `2:13: git[0].url "ext::sh -c x" must be an https, http, ssh, git or file address, or user@host:path`},
		"git password":     {"git: [{url: \"https://u:p@x/y\", ref: a, to: /a}]\n", `2:13: git[0].url must not hold a user or password`},
		"git range":        {"git: [{url: \"https://x/y\", ref: a..b, to: /a}]\n", `2:33: git[0].ref "a..b" must be a branch, a tag or a commit`},
		"run empty":        {"run: [{cmd: \"\"}]\n", `2:13: run[0].cmd must not be empty`},
		"run empty list":   {"run: [{cmd: []}]\n", `2:13: run[0].cmd must begin with a program`},
		"run number":       {"run: [{cmd: 5}]\n", `2:13: run[0].cmd must be text, not a number 5`},
		"run text":         {"run: [make]\n", `2:7: run[0] must be a mapping, not text "make"`},
		"run network":      {"run: [{cmd: a, network: \"yes\"}]\n", `2:25: run[0].network must be true or false, not text "yes"`},
		"run env":          {"run: [{cmd: a, env: {\"A B\": x}}]\n", `2:22: "A B" in run[0].env is not a name of an environment variable`},
		"run user":         {"run: [{cmd: a, user: \":x\"}]\n", `2:22: run[0].user ":x" must be name, uid, name:group or uid:gid, ids up to 65535`},
		"run dir":          {"run: [{cmd: a, dir: x}]\n", `2:21: run[0].dir "x" must be an absolute path in the image`},
		"env name":         {"env:\n  OK: a\n  1X: b\n", `4:3: "1X" in env is not a name of an environment variable`},
		"env number":       {"env: {PORT: 8080}\n", `2:13: env.PORT must be text, not a number 8080`},
		"user":             {"user: a/b\n", `2:7: user "a/b" must be name, uid, name:group or uid:gid, ids up to 65535`},
		"workdir":          {"workdir: srv\n", `2:10: workdir "srv" must be an absolute path in the image`},
		"ports":            {"ports: [0, 80, 80, 70000]\n", "2:9: ports[0] must be at least 1, not 0\n2:16: ports[2] 80 is given twice\n2:20: ports[3] must be at most 65535, not 70000"},
		"label":            {"labels: {\"a b\": c}\n", `2:10: "a b" in labels is not a name of a label`},
		"services two":     {"services:\n  web: {cmd: [/a]}\n  worker: {cmd: [/b], after: [db]}\n", `4:3: services.worker.after names "db", which is no service`},
		"services restart": {"services: {web: {cmd: [/a], restart: often}}\n", `2:38: unknown value "often" for services.web.restart`},
		"services cmd":     {"services: {web: {cmd: /a}}\n", `2:23: services.web.cmd must be a list, not text "/a"`},
		"services no cmd":  {"services: {web: {}}\n", `2:17: services.web.cmd is missing`},
		"services empty":   {"services: {web: {cmd: []}}\n", `2:23: services.web.cmd must begin with a program`},
		"services name":    {"services: {Web: {cmd: [a]}}\n", `2:12: service "Web" must be 1 to 63 of a-z, 0-9, dot, - and _, beginning and ending with a letter or digit`},
		"both":             {"services: {web: {cmd: [/a]}}\nentrypoint: [/b]\n", `3:1: entrypoint and services exclude each other`},
		"entrypoint":       {"entrypoint: []\n", `2:13: entrypoint must begin with a program`},
		"include missing":  {"include: [none.yaml]\n", `2:11: include none.yaml: no such file or folder`},
		"include absolute": {"include: [/etc/x.yaml]\n", `2:11: include /etc/x.yaml: the path is absolute; it must be relative to the recipe and stay in the project PROJECT`},
		"include escape":   {"include: [../../x.yaml]\n", `2:11: include ../../x.yaml: the path leaves the project PROJECT`},
		"include self":     {"include: [r.yaml]\n", `2:11: include cycle: p/r.yaml -> p/r.yaml`},
		"include cycle":    {"include: [one.yaml]\n", `p/sub/two.yaml:1:11: include cycle: p/r.yaml -> p/one.yaml -> p/sub/two.yaml -> p/r.yaml`},
		"include folder":   {"include: [dir]\n", `2:11: include dir: it is a folder, wanted is a file`},
		"include broken":   {"include: [broken.yaml]\ncopi: 1\n", "3:1: unknown key \"copi\", did you mean \"copy\"?\np/broken.yaml:1:7: sequence end token ']' not found"},
		"include wrong":    {"include: [wrong.yaml]\n", `p/wrong.yaml:2:7: user "a b" must be name, uid, name:group or uid:gid, ids up to 65535`},
		"machine kernel":   {"machine: {kernel: vmlinuz}\n", `2:19: "vmlinuz" is not a package of a kernel such as linux-image-cloud-amd64`},
		"machine modules":  {"machine: {modules: [a/b]}\n", `2:21: "a/b" is not the name of a kernel module`},
		"machine volume":   {"machine: {volumes: {data: srv}}\n", `2:27: machine.volumes.data "srv" is not an absolute path below /`},
		"machine label":    {"machine: {volumes: {a-label-of-17-by: /a, a-label-of-17-byt: /b}}\n", `2:62: "a-label-of-17-byt" is not a label of 1 to 16 of A-Z, a-z, 0-9, dot, - and _`},
		"duplicate":        {"user: a\nuser: b\ncopi: 1\n", "3:1: key \"user\" is given twice, first in line 2\n4:1: unknown key \"copi\", did you mean \"copy\"?"},
	} {
		t.Run(name, func(t *testing.T) {
			src, whole := strings.CutPrefix(c.src, "=")
			if !whole {
				src = "base: scratch\n" + src
			}
			files := map[string]string{
				"release.yaml": "", "p/r.yaml": src, "p/file": "x", "p/dir/": "", "p/out": "-> /etc/hosts", "p/outdir": "-> /etc", "p/left/x": "", ".git/HEAD": "",
				"p/.releaseignore": "left\n", "p/one.yaml": "include: [sub/two.yaml]\n", "p/sub/two.yaml": "include: [../r.yaml]\n", "p/broken.yaml": "user: [\n", "p/wrong.yaml": "\nuser: a b\n",
			}
			root := project(t, maps.Clone(files))
			if err := syscall.Mkfifo("p/pipe", 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := recipes.Load("p/r.yaml")
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(strings.ReplaceAll(err.Error(), "p/r.yaml:", ""), root, "PROJECT")
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if fault.CodeOf(err) != fault.Invalid {
				t.Errorf("code %s", fault.CodeOf(err))
			}
		})
	}
}

// Whatever a recipe holds: a valid recipe, or errors of class invalid.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("base: scratch\ninclude: [r.yaml, ../x, /y]\ncopy: [{from: ., to: /}]\n"))
	f.Add([]byte("base: {image: ./x}\nservices: {a: {cmd: [b]}}\nentrypoint: [c]\n"))
	f.Add([]byte("base: {debian: x}\nports: [1, 1]\nrun: [{cmd: [a]}, {cmd: b}]\ngit: [{url: a@b:c, ref: d, to: /e}]\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := dir + "/r.yaml"
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := recipes.Load(path)
		for _, e := range fault.All(err) {
			if e.Code != fault.Invalid || e.Line < 1 {
				t.Errorf("error without a good place: %+v", e)
			}
		}
		if err != nil {
			return
		}
		for _, c := range r.Copy {
			if !strings.HasPrefix(c.Source, r.Root) || !strings.HasPrefix(c.To, "/") || strings.Contains(c.To, "/../") {
				t.Errorf("copy %+v leaves %s", c, r.Root)
			}
		}
	})
}

// A number that is not in quotes is one mistake, wherever text is wanted.
func TestNumbersForText(t *testing.T) {
	for src, want := range map[string]int{
		"base: scratch\nvars: {port: 8080, debug: true}\n":                                                           2,
		"base: scratch\nextensions: [{name: seo, version: 1.10, source: \"https://x/y\", path: /x}]\n":               1,
		"base: scratch\nextensions: [{name: 5, version: 2, source: 7, ref: 1.2, sha256: 3, path: 8}]\n":              6,
		"base: scratch\nfetch: [{url: 5, sha256: 1, to: 5}]\ngit: [{url: 5, ref: 1.2, to: 3}]\n":                     6,
		"base: scratch\ncopy: [{from: 5, to: 6}]\nrun: [{cmd: a, dir: 4, user: 3, secrets: [5]}]\n":                  5,
		"base: scratch\nallow: [{path: 5, reason: 5}]\nservices: {a: {cmd: [5], dir: 3, after: [3]}}\n":              5,
		"base: {debian: 12}\npackages: [nginx, 5]\npins: [{package: a, version: 1.2, priority: 1}]\n":                3,
		"base: {debian: x}\nrepositories: [{name: 5, url: 4, suite: 3, keyring: 2, components: [4]}]\n":              5,
		"base: {debian: x}\npackages: [5]\npins: [{package: 5, suite: 4, priority: 3}, {package: a, priority: 3}]\n": 4,
	} {
		project(t, map[string]string{"r.yaml": src})
		_, err := recipes.Load("r.yaml")
		list := fault.All(err)
		if len(list) != want {
			t.Errorf("%d errors, want %d, of %s%v", len(list), want, src, err)
		}
		for _, e := range list {
			if !strings.Contains(e.Message, "must be text, not ") && !strings.Contains(e.Message, "pins[1] needs version or suite") {
				t.Errorf("%s: %v", src, e)
			}
		}
	}
}
