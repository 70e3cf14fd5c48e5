// Package arrows keeps the import arrows of the project: who may import whom, and which packages alone may know an
// engine's client. The rules are data; a failure says the reason.
package arrows

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/bootandshoot/release"

// rule is what the packages at a path may import of the project. The longest path that fits a package counts.
type rule struct {
	path string   // a folder; it stands for those below it as well
	may  []string // folders of the project, exactly; "..." is everything
	why  string
}

// rules name every package of the project. All may import what is below internal.
var rules = []rule{
	{"cmd/release", []string{"..."}, "the command line wires everything together"},
	{"console", []string{"orchestrator", "api"}, "the console shows what the orchestrator says, in the API's types"},
	{"orchestrator", []string{"config", "images", "fleet", "router", "healthcheck", "store", "orchestrator/canary", "orchestrator/hook", "orchestrator/metrics"},
		"a release starts at a digest, so the orchestrator never sees a recipe; it knows contracts, not drivers, backends or stores"},
	{"orchestrator/hook", nil, "a command of an app is run without anything that decides when"},
	{"orchestrator/metrics", nil, "a number is asked for without anything that decides what it means"},
	{"orchestrator/canary", []string{"router"}, "a verdict needs counters, and the buckets of their latencies"},
	{"supervisor", nil, "what decides on services stands alone, and with its program is small"},
	{"supervisor/supervise", []string{"supervisor"}, "PID 1 of an image is small and knows nothing but its services"},
	{"dockerfile", []string{"images"}, "an engine's build ends as an image in the store; nothing else of ours knows of it"},
	{"builder", []string{"builder/disk", "builder/secrets", "recipes", "images", "images/provenance", "images/sbom", "images/signature", "images/upper", "sandbox", "healthcheck", "machine", "supervisor", "debian", "debian/archive", "debian/deb", "debian/install", "debian/resolve"},
		"a bake needs no agent: it knows recipes and images, and nothing that runs"},
	{"builder/disk", []string{"images", "debian/deb"}, "a disk is made of an image and a kernel's package, whatever they were baked from"},
	{"builder/secrets", nil, "finding secrets needs bytes and nothing else"},
	{"fleet", []string{"images"}, "the contract of the drivers knows images only"},
	{"fleet/fleettest", []string{"fleet", "images"}, "the suite knows the contract, not a driver"},
	{"fleet/dockerapi", []string{"fleet"}, "what drivers of Docker engines share knows the contract, and none of them"},
	{"fleet/swarm", []string{"fleet", "fleet/dockerapi", "fleet/local", "images"}, "a driver knows its contract and images, not other drivers or who calls it"},
	{"fleet/docker", []string{"fleet", "fleet/dockerapi", "images"}, "a driver knows its contract and images, not other drivers or who calls it"},
	{"fleet/spread", []string{"fleet"}, "spreading nodes over hosts knows the contract, not what runs them there"},
	{"fleet/ec2", []string{"fleet", "fleet/ec2/ami", "images"}, "a driver knows its contract, images and how they become AMIs"},
	{"fleet/ec2/ami", nil, "a disk becomes an image of EC2 whoever made it"},
	{"fleet/ec2/awstest", nil, "an AWS for tests is what AWS documents, and knows no caller"},
	{"fleet/tails", []string{"fleet"}, "what is kept of nodes knows their names and lines, not who ran them"},
	{"fleet/local", []string{"fleet"}, "what drivers of this machine's nodes share knows the contract, and none of them"},
	{"fleet/qemu", []string{"fleet", "fleet/local", "images", "machine"},
		"a driver knows its contract and images, and this one what runs a machine"},
	{"fleet/sandbox", []string{"fleet", "fleet/local", "images", "sandbox"},
		"a driver knows its contract and images, and this one what isolates a command"},
	{"router", nil, "the contract of the backends stands alone"},
	{"router/routertest", []string{"router"}, "the suite knows the contract, not a backend"},
	{"router/haproxy", []string{"router"}, "a backend knows its contract only, and speaks to HAProxy as a person could"},
	{"router/alb", []string{"router"}, "a backend knows its contract only: whatever makes nodes, it knows their addresses"},
	{"router/embedded", []string{"router", "router/embedded/http1", "router/embedded/certs", "router/embedded/proxyproto", "router/embedded/websocket"},
		"a backend knows its contract only: traffic never depends on the agent"},
	{"router/embedded/http1", nil, "bytes become messages without anything that moves them"},
	{"router/embedded/certs", []string{"router"}, "certificates are of routes, whoever serves them"},
	{"router/embedded/proxyproto", nil, "a format is read without connections and routes"},
	{"router/embedded/websocket", nil, "a format is read without connections and routes"},
	{"router/consul", []string{"router"}, "a backend knows its contract only; the data plane that it works beside is handed in"},
	{"router/consul/certstore", nil, "a storage of certificates knows bytes, whoever shows them"},
	{"store", nil, "the contract of the stores stands alone"},
	{"store/local", []string{"store"}, "what stores in one process share knows the contract only"},
	{"store/storetest", []string{"store", "store/local"}, "the suite knows the contract, and its store in memory what stores share"},
	{"store/embedded", []string{"store", "store/local"}, "a store knows its contract, not what is stored"},
	{"store/consul", []string{"store", "store/local"}, "a store knows its contract, not what is stored"},
	{"recipes/library", nil, "ready recipes are files, and what shows them"},
	{"recipes", nil, "recipes are read without anything that bakes or runs them"},
	{"sqlcheck", nil, "SQL files are read without a database, and without what runs them"},
	{"config", nil, "configuration is read without anything that acts on it"},
	{"images/upper", []string{"images"}, "what an overlay captured becomes a layer; bakes and installs both do it"},
	{"debian", nil, "formats are read without files and network"},
	{"debian/archive", []string{"debian"}, "an archive knows what packages are, not who wants which of them"},
	{"debian/archive/archivetest", []string{"debian/deb"}, "an archive for tests is what mirrors are, and knows no client"},
	{"debian/resolve", []string{"debian"}, "what a request needs follows from lists of packages, wherever they are from"},
	{"debian/deb", nil, "a package file is read without what resolves or installs it"},
	{"debian/install", []string{"debian", "debian/deb", "images", "images/upper", "sandbox"},
		"an install lays packages out as layers and runs their scripts; where they come from is the caller's business"},
	{"images", nil, "images stand alone: bake, agent and drivers share them"},
	{"images/signature", []string{"images"}, "signatures are of images and stand beside them"},
	{"images/dpkg", []string{"images", "debian"}, "what dpkg keeps in an image is read in one place"},
	{"images/sbom", []string{"images", "images/dpkg", "debian"}, "a bill of materials reads images and what dpkg keeps in them"},
	{"images/provenance", []string{"images", "images/sbom", "images/signature"}, "provenance says of an image what it was made from"},
	{"images/verify", []string{"images", "images/sbom", "images/signature", "images/provenance"}, "a check reads all that was said about an image"},
	{"images/diff", []string{"images", "images/dpkg", "debian"}, "a comparison reads images and what dpkg keeps in them"},
	{"machine", nil, "one machine is run by whoever needs it: bakes and a driver"},
	{"healthcheck", nil, "health is asked of addresses; running a command in a node is handed in"},
	{"sandbox", nil, "the sandbox runs one command and knows nothing of bakes and fleets"},
	{"api", nil, "the wire types and their client stand alone, so that any program can use them"},
	{"examples", nil, "an example shows a user's program, which knows nothing of ours"},
	{"test", []string{"..."}, "black-box tests and benchmarks may use whatever helps them"},
	{"test/load", nil, "the load generator knows HTTP only"},
	{"test/tools", nil, "programs of others are built without anything of ours"},
	{"test/tools/pebbletest", []string{"test/tools"}, "an ACME server is run without anything of ours"},
	{"test/tools/consultest", []string{"test/tools"}, "Consul is run without anything of ours"},
	{"test/tools/kerneltest", nil, "a package of Debian's is downloaded without anything of ours"},
	{"test/tools/diskdiff", nil, "disks are bytes"},
	{"test/tools/postgrestest", nil, "PostgreSQL is run without anything of ours"},
	{"internal", nil, "what all may import imports none of them"},
}

// suites may be imported by every test file besides what its package may import.
var suites = []string{"debian/archive/archivetest", "fleet/ec2/awstest", "fleet/fleettest", "router/routertest", "store/storetest", "store/embedded", "test/engines", "test/load", "test/tools", "test/tools/consultest", "test/tools/diskdiff", "test/tools/kerneltest", "test/tools/pebbletest", "test/tools/postgrestest"}

// testOnly may be imported by test files alone, though they lie below internal.
var testOnly = []string{"internal/usertest"}

// testsMay are further imports of one package's test files.
var testsMay = map[string][]string{
	"internal/scaffold": {"config", "recipes"},                                     // what it writes must load
	"machine":           {"builder/disk", "debian/deb", "fleet/ec2/ami", "images"}, // what it boots is a real disk, as it is and as EC2 has it
	"orchestrator":      {"fleet/spread"},                                          // what is decided on hosts is tried with the driver that has them
	"router/consul":     {"router/embedded", "router/consul/certstore"},            // its edges are real data planes, with their certificates
}

// clients are modules of one outer system: only the packages named may know it. Tests may: they check against the
// real thing.
var clients = []struct {
	module string
	only   []string // folders, with those below them
	why    string
}{
	{"github.com/docker/docker", []string{"fleet/docker", "fleet/dockerapi", "fleet/swarm", "test"}, "the engine's types stay behind its drivers"},
	{"github.com/docker/cli", []string{"fleet/docker"}, "how an engine is reached stays behind the driver"},
	{"go.etcd.io/bbolt", []string{"store/embedded"}, "the file's format stays behind the store"},
	{"github.com/hashicorp/consul/api", []string{"internal/consulapi", "store/consul", "router/consul"}, "Consul is a store and a backend, nothing more"},
	{"github.com/aws", []string{"internal/awsapi", "fleet/ec2", "router/alb"}, "AWS is a place for fleets and a balancer, nothing more"},
	{"github.com/spf13/cobra", []string{"cmd/release"}, "flags are the command line's"},
	{"github.com/prometheus/client_golang", []string{"router/embedded", "console"}, "metrics are served by processes, not by libraries"},
	{"github.com/caddyserver/certmagic", []string{"router/embedded/certs", "router/consul/certstore"}, "how certificates are got stays behind those who hold them; its Storage alone may be built elsewhere"},
	{"github.com/Microsoft/hcsshim", []string{"builder/disk"}, "only disks have file systems of our writing"},
	{"github.com/vishvananda/netlink", []string{"fleet/sandbox", "sandbox"}, "only sandboxes have networks of our making"},
}

func TestArrows(t *testing.T) {
	root := projectRoot(t)
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipFolder(file, root, entry.Name())
		}
		if strings.HasSuffix(file, ".go") {
			checkFile(t, root, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func projectRoot(t *testing.T) string {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return root
}

// skipFolder leaves out what the go tool leaves out, and modules of their own.
func skipFolder(folder, root, name string) error {
	if folder == root {
		return nil
	}
	if name == "testdata" || name == "bin" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func checkFile(t *testing.T, root, file string) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	name, err := filepath.Rel(root, file)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		if problem := check(filepath.ToSlash(name), imported); problem != "" {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// check is what is wrong with an import in a file, both as paths from the project's folder; "" for nothing.
func check(file, imported string) string {
	folder := path.Dir(file)
	isTest := strings.HasSuffix(file, "_test.go")
	ours, ok := strings.CutPrefix(imported, module+"/")
	if !ok && isTest {
		return ""
	}
	if !ok {
		return checkClient(folder, imported)
	}
	r, ok := ruleFor(folder)
	switch {
	case !ok:
		return folder + " has no rule: say in rules what it may import, and why"
	case !isTest && ours != folder && slices.Contains(testOnly, ours):
		return folder + " must not import " + ours + ": it is for tests"
	case ours == folder, below(ours, "internal"), slices.Contains(r.may, "..."), slices.Contains(r.may, ours):
		return ""
	case below(ours, path.Join(folder, "internal")):
		return ""
	case isTest && (slices.Contains(suites, ours) || slices.Contains(testsMay[folder], ours)):
		return ""
	}
	return folder + " must not import " + ours + ": " + r.why
}

func checkClient(folder, imported string) string {
	for _, c := range clients {
		if !below(imported, c.module) {
			continue
		}
		if !slices.ContainsFunc(c.only, func(only string) bool { return below(folder, only) }) {
			return folder + " must not import " + imported + ": " + c.why
		}
	}
	return ""
}

func ruleFor(folder string) (rule, bool) {
	var found rule
	for _, r := range rules {
		if below(folder, r.path) && len(r.path) > len(found.path) {
			found = r
		}
	}
	return found, found.path != ""
}

// below reports whether a path is a folder or lies in it.
func below(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

func TestRules(t *testing.T) {
	tests := []struct {
		file, imported string
		ok             bool
	}{
		{"orchestrator/next.go", module + "/fleet", true},
		{"orchestrator/next.go", module + "/fleet/docker", false},
		{"orchestrator/next.go", module + "/recipes", false},
		{"orchestrator/next.go", module + "/internal/fault", true},
		{"sandbox/x_test.go", module + "/internal/usertest", true},
		{"sandbox/x.go", module + "/internal/usertest", false},
		{"orchestrator/next.go", module + "/store/storetest", false},
		{"orchestrator/next_test.go", module + "/store/storetest", true},
		{"orchestrator/next_test.go", module + "/recipes", false},
		{"store/store_test.go", module + "/store", true},
		{"internal/fault/fault.go", module + "/store", false},
		{"cmd/release/main.go", module + "/fleet/docker", true},
		{"test/demo/main.go", module + "/test/load", true},
		{"fleet/swarm/swarm.go", module + "/fleet/docker", false},
		{"nowhere/x.go", module + "/fleet", false},
		{"fleet/docker/x.go", "github.com/docker/docker/client", true},
		{"orchestrator/x.go", "github.com/docker/docker/client", false},
		{"images/x_test.go", "github.com/docker/docker/client", true},
		{"internal/scaffold/x_test.go", module + "/config", true},
		{"internal/scaffold/x.go", module + "/config", false},
		{"orchestrator/x.go", "fmt", true},
	}
	for _, test := range tests {
		if problem := check(test.file, test.imported); (problem == "") != test.ok {
			t.Errorf("%s importing %s: %q", test.file, test.imported, problem)
		}
	}
}
