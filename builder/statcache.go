package builder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/internal/atomicfile"
)

// fingerprint tells whether a file is the one that was hashed, without reading it.
type fingerprint struct {
	size, mtime, ctime int64 // bytes; nanoseconds since 1970
	ino, dev           uint64
}

func fingerprintOf(st *unix.Stat_t) fingerprint {
	return fingerprint{size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), ino: st.Ino, dev: uint64(st.Dev)}
}

// settled reports whether no later write can leave the fingerprint as it is: the file's last change is older than the
// steps of the file system's clock. A change within the same step would be invisible, the "racy" case of git's index
// (git's Documentation/technical/racy-git.txt). Kernels step file times by at most 10 ms; a time in whole seconds is
// taken for that of a file system that knows no others.
func (f fingerprint) settled(now time.Time) bool {
	step := int64(20 * time.Millisecond)
	if f.ctime%int64(time.Second) == 0 {
		step = int64(2 * time.Second)
	}
	return max(f.mtime, f.ctime)+step < now.UnixNano()
}

// statCache remembers the hashes of one copy source's files. On disk it is a text, one line a file:
//
//	size mtime ctime ino dev sha256 path\n
//
// with the path (relative to the source) quoted as in Go, and as its last line "sum", a space and the hash of what stands
// before it. Anything else is as good as none.
type statCache struct {
	path    string
	old     map[string]known
	new     map[string]known
	changed bool
}

type known struct {
	print fingerprint
	sum   string
}

func loadStatCache(path string) *statCache {
	s := &statCache{path: path, old: map[string]known{}, new: map[string]known{}}
	data, err := os.ReadFile(path)
	if err != nil {
		return s
	}
	i := bytes.LastIndex(data, []byte("sum "))
	if i < 0 || string(data[i:]) != sumLine(data[:i]) {
		return s
	}
	for line := range strings.Lines(string(data[:i])) {
		name, k, ok := parseKnown(strings.TrimSuffix(line, "\n"))
		if !ok {
			s.old = map[string]known{}
			return s
		}
		s.old[name] = k
	}
	return s
}

func sumLine(data []byte) string {
	sum := sha256.Sum256(data)
	return "sum " + hex.EncodeToString(sum[:]) + "\n"
}

func parseKnown(line string) (string, known, bool) {
	fields := strings.SplitN(line, " ", 7)
	if len(fields) != 7 {
		return "", known{}, false
	}
	var n [5]int64
	for i := range n {
		v, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return "", known{}, false
		}
		n[i] = int64(v)
	}
	name, err := strconv.Unquote(fields[6])
	return name, known{fingerprint{n[0], n[1], n[2], uint64(n[3]), uint64(n[4])}, fields[5]}, err == nil
}

// lookup gives the hash of a file whose fingerprint is still the same, "" else.
func (s *statCache) lookup(name string, f fingerprint) string {
	k, ok := s.old[name]
	if !ok || k.print != f {
		return ""
	}
	s.new[name] = k
	return k.sum
}

// remember keeps a hash whose file had this fingerprint before and after it was read, at the given time.
func (s *statCache) remember(name string, f fingerprint, sum string, now time.Time) {
	if f.mtime < 0 || f.ctime < 0 || !f.settled(now) {
		return
	}
	s.new[name] = known{f, sum}
	s.changed = true
}

// save writes the cache if anything in it changed; files that are gone are dropped.
func (s *statCache) save() error {
	if !s.changed && len(s.new) == len(s.old) {
		return nil
	}
	names := make([]string, 0, len(s.new))
	for name := range s.new {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, name := range names {
		k := s.new[name]
		for _, n := range []uint64{uint64(k.print.size), uint64(k.print.mtime), uint64(k.print.ctime), k.print.ino, k.print.dev} {
			b.WriteString(strconv.FormatUint(n, 10))
			b.WriteByte(' ')
		}
		b.WriteString(k.sum + " " + strconv.Quote(name) + "\n")
	}
	b.WriteString(sumLine(b.Bytes()))
	return atomicfile.Write(s.path, b.Bytes(), 0o644)
}

// statCachePath is where the hashes of a copy source lie.
func (c *cache) statCachePath(source string) string {
	return filepath.Join(c.dir, "files", keyOf("files", source)[:32])
}
