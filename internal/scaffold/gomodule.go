package scaffold

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	modulePath = regexp.MustCompile(`(?m)^module\s+(\S+)`)
	mainFunc   = regexp.MustCompile(`(?m)^func main\(\)`)
	listenPort = regexp.MustCompile(`"[^"\s]*:(\d{2,5})"`)
	version    = regexp.MustCompile(`^v\d+$`)
)

// goModule finds a Go module with a main package in its root or below cmd.
func goModule(dir string) (*finding, error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pkg, source := mainPackage(dir)
	if pkg == "" {
		return nil, nil
	}
	name := filepath.Base(filepath.Join(dir, pkg))
	if m := modulePath.FindSubmatch(mod); m != nil && pkg == "." {
		name = moduleName(string(m[1]))
	}
	name = Name(name)
	if name == "" {
		name = "app"
	}
	port := portIn(source)
	build := []string{"env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=false", "-o", "bin/" + name, "./" + pkg}
	f := &finding{
		kind: "Go module", name: name, port: port, build: build,
		comment: "\n# The binary is made first, with: " + strings.Join(build[1:], " "),
		recipe: fmt.Sprintf(`base: scratch
copy: [{from: ./bin/%[1]s, to: /%[1]s}]
ports: [%[2]d]
entrypoint: [/%[1]s]
`, name, port),
	}
	if strings.Contains(source, `/healthz"`) {
		f.health = "/healthz"
	}
	if !strings.Contains(source, `"PORT"`) {
		f.notes = append(f.notes, fmt.Sprintf("the program does not seem to read $PORT; it must listen on %d, and as an ordinary user on $PORT", port))
	}
	return f, nil
}

// moduleName is the last part of a module's path that is no version.
func moduleName(path string) string {
	parts := strings.Split(path, "/")
	last := parts[len(parts)-1]
	if version.MatchString(last) && len(parts) > 1 {
		last = parts[len(parts)-2]
	}
	return last
}

// mainPackage is the folder of the main package, relative, with the text of its files.
func mainPackage(dir string) (pkg, source string) {
	candidates := []string{"."}
	entries, _ := os.ReadDir(filepath.Join(dir, "cmd"))
	for _, e := range entries {
		if e.IsDir() {
			candidates = append(candidates, "cmd/"+e.Name())
		}
	}
	for _, c := range candidates {
		if text := goText(filepath.Join(dir, c)); mainFunc.MatchString(text) {
			return c, text
		}
	}
	return "", ""
}

func goText(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	var b strings.Builder
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && !strings.HasSuffix(f, "_test.go") {
			b.Write(text)
		}
	}
	return b.String()
}

// portIn is the first port that the source names as an address, 8080 if none.
func portIn(source string) int {
	for _, m := range listenPort.FindAllStringSubmatch(source, -1) {
		if port, err := strconv.Atoi(m[1]); err == nil && port > 0 && port < 1<<16 {
			return port
		}
	}
	return 8080
}
