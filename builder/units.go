package builder

import (
	"cmp"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/recipes"
)

// Where units of an image lie, and the target that starts them.
const (
	unitDir    = "/etc/systemd/system"
	unitTarget = "multi-user.target"
)

// unitFiles are the services as systemd's units, enabled.
func (s *servicesStep) unitFiles(t *tree) generated {
	var m madeFiles
	wants := unitTarget + ".wants"
	m.dir(".")
	m.dir(wants)
	for _, service := range s.list {
		name := service.Name + ".service"
		m.file(name, []byte(s.unit(t, service)), 0o644)
		m.link(path.Join(wants, name), path.Join(unitDir, name))
	}
	return m.done()
}

// unit is a service as systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5) have it. It says the same
// as the supervisor does, as far as systemd can: after the end of a service without restart the machine goes on, and the
// time before a restart does not grow.
func (s *servicesStep) unit(t *tree, service recipes.Service) string {
	var b strings.Builder
	line := func(key, format string, args ...any) { fmt.Fprintf(&b, key+"="+format+"\n", args...) }
	b.WriteString("# Made from the recipe.\n[Unit]\n")
	line("Description", "%s", specifiers(service.Name))
	after := []string{"network.target"}
	for _, name := range service.After {
		after = append(after, name+".service")
	}
	line("After", "%s", strings.Join(after, " "))
	if len(after) > 1 {
		line("Wants", "%s", strings.Join(after[1:], " "))
	}
	line("StartLimitIntervalSec", "0")
	b.WriteString("\n[Service]\n")
	line("Type", "exec")
	line("ExecStart", ":%s", s.commandLine(t, service)) // the colon: no variables in it
	line("Restart", "%s", string(service.Restart))
	line("RestartSec", "1")
	s.identity(line, service)
	for _, kv := range s.environment(service) {
		line("Environment", "%s", quoteUnit(kv))
	}
	line("WorkingDirectory", "%s", specifiers(cmp.Or(service.Workdir, s.base.WorkingDir, "/")))
	line("KillMode", "mixed")
	line("KillSignal", "SIG%s", service.Signal)
	line("TimeoutStopSec", "%s", strconv.FormatFloat(service.Grace.Seconds(), 'f', -1, 64))
	line("StandardOutput", "journal+console")
	line("StandardError", "journal+console")
	line("SyslogIdentifier", "%s", specifiers(service.Name))
	b.WriteString("\n[Install]\n")
	line("WantedBy", "%s", unitTarget)
	return b.String()
}

func (s *servicesStep) identity(line func(key, format string, args ...any), service recipes.Service) {
	user, group, hasGroup := strings.Cut(cmp.Or(service.User, s.base.User), ":")
	if user != "" && !isRoot(user) {
		line("User", "%s", user)
	}
	if hasGroup {
		line("Group", "%s", group)
	}
}

// environment is what the service sees of the image's variables and its own, $PORT included.
func (s *servicesStep) environment(service recipes.Service) []string {
	var list []string
	own := environ(service.Env)
	image := s.base.Env
	if _, ok := lookup(image, "PORT"); !ok && s.port != 0 {
		image = append(image[:len(image):len(image)], "PORT="+strconv.Itoa(s.port))
	}
	for _, kv := range image {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := lookup(own, name); !ok {
			list = append(list, kv)
		}
	}
	return append(list, own...)
}

// commandLine quotes a command. systemd looks for programs in a PATH of its own, so the image's is searched here.
func (s *servicesStep) commandLine(t *tree, service recipes.Service) string {
	env := s.environment(service)
	words := []string{quoteUnit(programPath(t, service.Cmd[0], cmp.Or(service.Workdir, s.base.WorkingDir, "/"), env))}
	for _, arg := range service.Cmd[1:] {
		words = append(words, quoteUnit(arg))
	}
	return strings.Join(words, " ")
}

func programPath(t *tree, name, dir string, env []string) string {
	if strings.Contains(name, "/") {
		if path.IsAbs(name) {
			return name
		}
		return path.Join(dir, name)
	}
	folders, _ := lookup(env, "PATH")
	for folder := range strings.SplitSeq(cmp.Or(folders, defaultPath), ":") {
		at := path.Join("/", folder, name)
		if _, n, err := t.resolve(at); err == nil && n != nil && n.kind == images.File && n.mode&0o111 != 0 {
			return at
		}
	}
	return name
}

// specifiers keeps systemd from reading a percent sign as the begin of a specifier.
func specifiers(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// quoteUnit quotes a word by the rules of systemd.syntax(7).
func quoteUnit(word string) string {
	plain := word != "" && strings.IndexFunc(word, func(r rune) bool {
		return !strings.ContainsRune("%=+-_./:,@~", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
	if plain {
		return specifiers(word)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(specifiers(word)) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
