package archivetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/klauspost/compress/gzip"
)

// Suite is a suite of a site: component main. A change of its fields shows after Publish.
type Suite struct {
	Name     string // below dists
	Codename string // what the release file says
	Archive  string // its Suite field
	Date     time.Time
	Signed   time.Time // by its signature; zero is Date
	Until    time.Time // Valid-Until; zero leaves it out
	ByHash   bool
	Detached bool   // the signature is a file of its own
	Silent   bool   // it does not say where packages of architecture all are listed
	Packed   string // form of the indexes: "" or .gz
	Archs    []string
	Packages []Package

	site *Site
}

// Suite begins a suite, as of an hour ago, valid for a week, for amd64 alone.
func (s *Site) Suite(name string) *Suite {
	return &Suite{site: s, Name: name, Codename: name, Archive: "stable", Date: s.now.Add(-time.Hour), Until: s.now.AddDate(0, 0, 7), ByHash: true, Packed: ".gz",
		Archs: []string{"amd64"}}
}

// Index lists the packages of an architecture and of all, by name.
func (u *Suite) Index(arch string) []byte {
	var out bytes.Buffer
	list := slices.SortedStableFunc(slices.Values(u.Packages), func(a, b Package) int { return strings.Compare(a.name(), b.name()) })
	for _, p := range list {
		if a := p.field("Architecture"); a == arch || a == "all" {
			fmt.Fprintf(&out, "%sFilename: %s\nSize: %d\nSHA256: %s\n\n", p.Control, p.Path(), len(p.Deb), Sum(p.Deb))
		}
	}
	return out.Bytes()
}

// Folder is where the suite's release file lies, with a slash at its end.
func (u *Suite) Folder() string { return "dists/" + u.Name + "/" }

// Publish makes all files of the suite anew.
func (u *Suite) Publish() {
	s := u.site
	s.t.Helper()
	files := map[string][]byte{}
	var sums bytes.Buffer
	for _, arch := range u.Archs {
		name := "main/binary-" + arch + "/Packages"
		index := u.Index(arch)
		packed := index
		fmt.Fprintf(&sums, " %s %d %s\n", Sum(index), len(index), name)
		if u.Packed != "" {
			packed = gzipped(index)
			fmt.Fprintf(&sums, " %s %d %s\n", Sum(packed), len(packed), name+u.Packed)
		}
		files[u.Folder()+name+u.Packed] = packed
		if u.ByHash {
			files[u.Folder()+"main/binary-"+arch+"/by-hash/SHA256/"+Sum(packed)] = packed
		}
	}
	for _, p := range u.Packages {
		files[p.Path()] = p.Deb
	}
	u.sign(files, u.release(sums.Bytes()))
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.files {
		if strings.HasPrefix(name, u.Folder()) {
			delete(s.files, name)
		}
	}
	for name, data := range files {
		s.files[name] = file{data, u.Date}
	}
}

func (u *Suite) release(sums []byte) []byte {
	var rel bytes.Buffer
	fmt.Fprintf(&rel, "Origin: Test\nLabel: Test\nSuite: %s\nCodename: %s\nDate: %s\n", u.Archive, u.Codename, u.Date.UTC().Format(time.RFC1123))
	if !u.Until.IsZero() {
		fmt.Fprintf(&rel, "Valid-Until: %s\n", u.Until.UTC().Format(time.RFC1123))
	}
	if u.ByHash {
		fmt.Fprintf(&rel, "Acquire-By-Hash: yes\n")
	}
	fmt.Fprintf(&rel, "Architectures: all %s\n", strings.Join(u.Archs, " "))
	if !u.Silent {
		fmt.Fprintf(&rel, "No-Support-for-Architecture-all: Packages\n")
	}
	fmt.Fprintf(&rel, "Components: main\nSHA256:\n%s", sums)
	return rel.Bytes()
}

func (u *Suite) sign(files map[string][]byte, rel []byte) {
	if !u.Detached {
		files[u.Folder()+"InRelease"] = u.InRelease(rel)
		return
	}
	var signature bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&signature, u.site.Keys[0], bytes.NewReader(rel), At(u.signing())); err != nil {
		u.site.t.Fatal(err)
	}
	files[u.Folder()+"Release"], files[u.Folder()+"Release.gpg"] = rel, signature.Bytes()
}

// InRelease signs a release file as the suite's is signed.
func (u *Suite) InRelease(rel []byte) []byte {
	return InRelease(u.site.t, rel, u.signing(), u.site.Keys...)
}

func (u *Suite) signing() time.Time {
	if u.Signed.IsZero() {
		return u.Date
	}
	return u.Signed
}

// Sum is a sha256 in hex.
func Sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(data) // into memory
	_ = z.Close()
	return out.Bytes()
}
