package recipes

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/strictyaml"
)

var (
	namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)
	envPattern  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	userPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$`)
	sumPattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	refPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./@+-]{0,254}$`)
	scpPattern  = regexp.MustCompile(`^([A-Za-z0-9_.-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9_~/.][^\s:]*$`)
	// allowPattern is a path of an image, or a part of its configuration, as the search for secrets names them.
	allowPattern = regexp.MustCompile(`^(/|(env|label|annotation):|command$|history$)`)
	unnameable   = regexp.MustCompile(`[^a-z0-9._-]+`)
)

func validName(name string) bool { return namePattern.MatchString(name) }

// nameOfFile makes a valid name of a recipe's file name.
func nameOfFile(path string) string {
	base := strings.ToLower(filepath.Base(path))
	name := unnameable.ReplaceAllString(strings.TrimSuffix(base, filepath.Ext(base)), "-")
	if len(name) > 63 {
		name = name[:63]
	}
	if name = strings.Trim(name, "._-"); name == "" {
		return "image"
	}
	return name
}

// validUser is a name, or an id that fits the range of ids that a user namespace maps.
func validUser(user string) bool {
	if userPattern.MatchString(user) {
		return true
	}
	id, err := strconv.ParseUint(user, 10, 16)
	return err == nil && user == strconv.FormatUint(id, 10)
}

func (l *loader) user(pos Position, where, user string) {
	name, group, both := strings.Cut(user, ":")
	if !validUser(name) || both && !validUser(group) {
		l.fail(pos, "%s %q must be name, uid, name:group or uid:gid, ids up to 65535", where, user)
	}
}

func (l *loader) owner(n *strictyaml.Node, where, owner string) {
	if n := n.Get("owner"); n != nil && n.Kind == strictyaml.Text {
		l.user(n.Pos, where+".owner", owner)
	}
}

func (l *loader) envNames(n *strictyaml.Node, env map[string]string, where string) {
	for _, e := range entries(n, "env") {
		if _, ok := env[e.Key]; ok && !envPattern.MatchString(e.Key) {
			l.fail(e.KeyPos, "%q in %s is not a name of an environment variable", e.Key, where)
		}
	}
}

func (l *loader) labelNames(f *file) {
	for _, e := range entries(f.Node, "labels") {
		if e.Key == "" || strings.ContainsFunc(e.Key, func(r rune) bool { return r <= ' ' || r == '=' || r == 0x7f }) {
			l.fail(e.KeyPos, "%q in labels is not a name of a label", e.Key)
		}
	}
}

func entries(n *strictyaml.Node, key string) []strictyaml.Entry {
	if n = n.Get(key); n == nil {
		return nil
	}
	return n.Entries
}

// webURL checks a download's address. A password in it would land in the lockfile and in logs.
func (l *loader) webURL(pos Position, where, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsAny(address, " \t\n"):
		l.fail(pos, "%s %q must be an http or https address", where, address)
	case u.User != nil:
		l.fail(pos, "%s must not hold a user or password", where)
	}
}

// gitURL also keeps text away from git that it would take for an option.
func (l *loader) gitURL(pos Position, where, address string) {
	u, err := url.Parse(address)
	switch {
	case err == nil && strings.Contains(address, "://") && !strings.ContainsAny(address, " \t\n"):
		_, password := "", false
		if u.User != nil {
			_, password = u.User.Password()
		}
		switch {
		case password || u.User != nil && strings.HasPrefix(u.Scheme, "http"):
			l.fail(pos, "%s must not hold a user or password", where)
			return
		case u.Scheme == "file" && strings.HasPrefix(u.Path, "/") && u.Host == "":
			return
		case (u.Scheme == "https" || u.Scheme == "http" || u.Scheme == "ssh" || u.Scheme == "git") && u.Host != "" && !strings.HasPrefix(u.Host, "-"):
			return
		}
	case scpPattern.MatchString(address) && !strings.Contains(address, "://"):
		return
	}
	l.fail(pos, "%s %q must be an https, http, ssh, git or file address, or user@host:path", where, address)
}
