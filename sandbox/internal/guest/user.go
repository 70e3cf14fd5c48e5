package guest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// identity is who the command runs as.
type identity struct {
	uid, gid int
	groups   []uint32 // supplementary
	home     string
	noGroups bool // this sandbox has one id only and may not set groups
}

// account is a line of passwd or group.
type account struct {
	name    string
	id, gid int
	home    string
	members []string
}

// lookupUser resolves "name", "uid", "name:group" and so on in the passwd and group of the root that this process is
// in.
func lookupUser(text string) (identity, error) {
	user, group, hasGroup := strings.Cut(text, ":")
	if user == "" {
		user = "0"
	}
	users := readAccounts("/etc/passwd", 7, parseUser)
	groups := readAccounts("/etc/group", 4, parseGroup)
	id := identity{home: "/"}
	name := user
	if a, ok := find(users, user); ok {
		id.uid, id.gid, id.home, name = a.id, a.gid, a.home, a.name
	} else if n, err := ParseID(user); err == nil {
		id.uid = n
	} else {
		return identity{}, fmt.Errorf("user %s is not in the image's /etc/passwd", user)
	}
	for _, g := range groups {
		if slices.Contains(g.members, name) {
			id.groups = append(id.groups, uint32(g.id))
		}
	}
	if hasGroup {
		gid, err := lookupGroup(groups, group)
		if err != nil {
			return identity{}, err
		}
		id.gid, id.groups = gid, nil // as docker does: a named group is the only one
	}
	return id.confine()
}

// confine checks that the ids exist in this sandbox.
func (id identity) confine() (identity, error) {
	have := AvailableIDs("/proc/self/uid_map")
	if have < FullRange {
		id.groups, id.noGroups = nil, true
	}
	if id.uid >= have || id.gid >= have {
		return identity{}, fmt.Errorf("user %d:%d: only %d id(s) are available to this sandbox; give the user that runs release a range of ids: release doctor says how",
			id.uid, id.gid, have)
	}
	return id, nil
}

func lookupGroup(groups []account, text string) (int, error) {
	if g, ok := find(groups, text); ok {
		return g.id, nil
	}
	if n, err := ParseID(text); err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("group %s is not in the image's /etc/group", text)
}

// find looks for a name first and for a number then, as login programs do.
func find(accounts []account, text string) (account, bool) {
	for _, a := range accounts {
		if a.name == text {
			return a, true
		}
	}
	if n, err := ParseID(text); err == nil {
		for _, a := range accounts {
			if a.id == n {
				return a, true
			}
		}
	}
	return account{}, false
}

// ParseID reads a user or group id.
func ParseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n >= 1<<31 {
		return 0, errors.New("not an id")
	}
	return int(n), nil
}

// readAccounts skips lines that it does not understand: the image's files may hold anything. A missing file has no
// accounts.
func readAccounts(file string, fields int, parse func([]string) (account, error)) []account {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []account
	for lines := bufio.NewScanner(f); lines.Scan(); {
		parts := strings.Split(lines.Text(), ":")
		if len(parts) < fields {
			continue
		}
		if a, err := parse(parts); err == nil {
			list = append(list, a)
		}
	}
	return list
}

func parseUser(p []string) (account, error) {
	uid, err := ParseID(p[2])
	if err != nil {
		return account{}, err
	}
	gid, err := ParseID(p[3])
	return account{name: p[0], id: uid, gid: gid, home: p[5]}, err
}

func parseGroup(p []string) (account, error) {
	gid, err := ParseID(p[2])
	return account{name: p[0], id: gid, members: strings.Split(p[3], ",")}, err
}
