package builder

import (
	"context"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// owner is whom a file belongs to.
type owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// resolveOwner finds the ids of "name", "name:group", "uid" or "uid:gid" in the image's own passwd and group files. A
// name without group gets its primary group, a number without group that of its user, else the group of the same
// number. "" is root.
func resolveOwner(ctx context.Context, s *images.Store, t *tree, text string) (owner, error) {
	if text == "" {
		return owner{}, nil
	}
	user, group, hasGroup := strings.Cut(text, ":")
	if uid, ok := number(user); ok {
		if gid, ok := number(group); ok {
			return owner{uid, gid}, nil
		}
	}
	passwd, err := t.read(ctx, s, "/etc/passwd")
	if err != nil {
		return owner{}, err
	}
	o, err := findUser(string(passwd), user)
	if err != nil || !hasGroup {
		return o, err
	}
	groups, err := t.read(ctx, s, "/etc/group")
	if err != nil {
		return owner{}, err
	}
	o.GID, err = findGroup(string(groups), group)
	return o, err
}

// maxID is the largest id that user namespaces of ordinary users and most images know.
const maxID = 1<<32 - 2

func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n <= maxID
}

// findUser reads passwd(5).
func findUser(passwd, user string) (owner, error) {
	uid, numeric := number(user)
	var names []string
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		u, uok := number(f[2])
		g, gok := number(f[3])
		if !uok || !gok {
			continue
		}
		if f[0] == user || numeric && u == uid {
			return owner{u, g}, nil
		}
		names = append(names, f[0])
	}
	if numeric {
		return owner{uid, uid}, nil
	}
	return owner{}, unknownName("user", user, "/etc/passwd", names)
}

// findGroup reads group(5).
func findGroup(groups, group string) (int, error) {
	if gid, ok := number(group); ok {
		return gid, nil
	}
	var names []string
	for line := range strings.Lines(groups) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 {
			continue
		}
		if gid, ok := number(f[2]); ok && f[0] == group {
			return gid, nil
		}
		names = append(names, f[0])
	}
	return 0, unknownName("group", group, "/etc/group", names)
}

func unknownName(what, name, file string, names []string) error {
	err := fault.New(fault.Invalid, "the image has no %s %q at this point", what, name)
	if len(names) == 0 {
		return err.WithHint("its %s is missing or empty: use a number, such as 1000:1000", file)
	}
	if len(names) > 40 {
		names = append(names[:40], "…")
	}
	return err.WithHint("put the step that adds it above this one, or use one of: %s", strings.Join(names, ", "))
}
