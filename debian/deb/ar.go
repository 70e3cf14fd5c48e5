package deb

import (
	"io"
	"strconv"
	"strings"
)

// The form of an ar archive: a line that says so, then members, each behind a header of 60 bytes, at even offsets (ar(5)).
const (
	arMagic    = "!<arch>\n"
	arHeader   = 60
	arHeadEnd  = "`\n"
	maxMembers = 64
)

// member is one file of an ar archive.
type member struct {
	name   string
	offset int64
	size   int64
}

// readMembers lists an archive that is size bytes long. It ends after the first member for which last says so.
func readMembers(r io.ReaderAt, size int64, last func(name string) bool) ([]member, error) {
	magic := make([]byte, len(arMagic))
	if n, _ := r.ReadAt(magic, 0); string(magic[:n]) != arMagic {
		if n < len(magic) {
			return nil, truncated("it has %d bytes", size)
		}
		return nil, refused("it is no ar archive, so no .deb")
	}
	var list []member
	for at := int64(len(arMagic)); at < size; {
		m, err := readMember(r, at, size)
		if err != nil {
			return nil, err
		}
		if list = append(list, m); len(list) > maxMembers {
			return nil, refused("it has more than %d members", maxMembers)
		}
		if last(m.name) {
			break
		}
		at = m.offset + m.size + m.size%2
	}
	return list, nil
}

func readMember(r io.ReaderAt, at, size int64) (member, error) {
	head := make([]byte, arHeader)
	if n, _ := r.ReadAt(head, at); n < arHeader {
		return member{}, truncated("the file ends at byte %d within a member's header", size)
	}
	if string(head[58:]) != arHeadEnd {
		return member{}, truncated("there is no member at byte %d", at)
	}
	// GNU ar ends names with a slash.
	name := strings.TrimSuffix(strings.TrimRight(string(head[:16]), " "), "/")
	n, err := strconv.ParseUint(strings.TrimRight(string(head[48:58]), " "), 10, 62)
	if err != nil {
		return member{}, refused("member %q has the size %q", name, head[48:58])
	}
	m := member{name: name, offset: at + arHeader, size: int64(n)}
	if m.size > size-m.offset {
		return member{}, truncated("member %s has %d bytes of %d", m.name, size-m.offset, m.size)
	}
	return m, nil
}
