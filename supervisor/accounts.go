package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Account is who a service runs as.
type Account struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
}

// FindAccount resolves "name", "uid", "name:group", "uid:gid" in the texts of passwd(5) and group(5). A number that has no
// line has the group 0, as in other container tools; a group that is named is the only one. Lines that make no sense are
// passed over.
func FindAccount(text, passwd, group string) (Account, error) {
	user, groupName, hasGroup := strings.Cut(text, ":")
	a := Account{Home: "/"}
	name := user
	if f := findLine(passwd, user, 7); f != nil {
		uid, _ := parseID(f[2])
		gid, ok := parseID(f[3])
		if !ok {
			return Account{}, fmt.Errorf("the group of user %s in the image's /etc/passwd is no number", user)
		}
		a.UID, a.GID, a.Home, name = uid, gid, f[5], f[0]
	} else if uid, ok := parseID(user); ok {
		a.UID = uid
	} else {
		return Account{}, fmt.Errorf("user %s is not in the image's /etc/passwd", user)
	}
	if !hasGroup {
		a.Groups = memberships(group, name)
		return a, nil
	}
	if f := findLine(group, groupName, 4); f != nil {
		a.GID, _ = parseID(f[2])
	} else if gid, ok := parseID(groupName); ok {
		a.GID = gid
	} else {
		return Account{}, fmt.Errorf("group %s is not in the image's /etc/group", groupName)
	}
	return a, nil
}

// findLine finds the line of a name, else that of a number. Its third field is a number.
func findLine(text, name string, fields int) []string {
	want, numeric := parseID(name)
	var byNumber []string
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < fields {
			continue
		}
		id, ok := parseID(f[2])
		switch {
		case !ok:
		case f[0] == name:
			return f
		case numeric && id == want && byNumber == nil:
			byNumber = f
		}
	}
	return byNumber
}

func memberships(group, name string) []uint32 {
	var list []uint32
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if gid, ok := parseID(f[2]); ok {
			list = append(list, gid)
		}
	}
	return list
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil
}
