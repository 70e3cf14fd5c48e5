package sbom

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"path"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/dpkg"
)

// metadataLimit is the largest description that is read: copyright files, METADATA, package.json. What is larger says nothing.
const metadataLimit = 1 << 20

// scanner finds out what the files of one layer say.
type scanner struct {
	store *images.Store
	layer images.Digest
	blob  *os.File
	out   *layerFacts
	text  strings.Builder
}

// scan reads the files of a layer that say something about what is in it.
func scan(ctx context.Context, s *images.Store, l images.Layer) (*layerFacts, error) {
	known, err := s.LayerFacts(ctx, l)
	if err != nil {
		return nil, err
	}
	blob, err := s.OpenBlob(l.Digest)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	c := &scanner{store: s, layer: l.Digest, blob: blob, out: &layerFacts{
		Schema: factsSchema, layer: l.Digest, Records: map[images.Digest][]record{}, Licenses: map[images.Digest]string{},
		Modules: map[images.Digest][]module{}, Lists: map[images.Digest]span{}, SHA1: map[images.Digest]string{},
	}}
	for _, e := range known.Entries {
		if e.Type != images.File {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.file(e); err != nil {
			return nil, fmt.Errorf("/%s: %w", e.Path, err)
		}
	}
	c.out.text = c.text.String()
	return c.out, nil
}

func (c *scanner) file(e images.FileFacts) error {
	dir, base := path.Split(e.Path)
	switch {
	case dpkg.IsRecord(e.Path):
		return c.records(e)
	case dir == debian.InfoFolder+"/" && strings.HasSuffix(base, ".list"):
		return c.list(e)
	case base == "copyright" && strings.HasPrefix(dir, "usr/share/doc/"):
		return c.copyright(e)
	case base == "METADATA" && strings.HasSuffix(dir, ".dist-info/"), base == "PKG-INFO" && strings.HasSuffix(dir, ".egg-info/"):
		return c.python(e)
	case base == "package.json" && inNodeModules(dir):
		return c.npm(e)
	case e.Mode&0o111 != 0 && e.Offset >= 0:
		c.program(e)
	}
	return nil
}

// read gives a file's content; ok is false for one that is too large.
func (c *scanner) read(e images.FileFacts, limit int64) (data []byte, ok bool, err error) {
	if e.Size > limit {
		return nil, false, nil
	}
	data, err = c.store.ReadContent(c.layer, e, limit)
	return data, err == nil, err
}

// records reads dpkg's status: one that cannot be understood fails the whole, for a bill without packages would lie.
func (c *scanner) records(e images.FileFacts) error {
	data, ok, err := c.read(e, dpkg.RecordLimit)
	if !ok {
		return err
	}
	packages, err := dpkg.Installed(e.Path, string(data))
	if err != nil {
		return err
	}
	list := []record{}
	for _, p := range packages {
		source, version, _ := strings.Cut(p.Get("Source"), " ")
		if source != "" {
			source += " " + orElse(strings.Trim(version, "() "), p.Get("Version"))
		}
		list = append(list, record{Name: p.Get("Package"), Version: p.Get("Version"), Arch: p.Get("Architecture"), Source: source,
			Supplier: p.Get("Maintainer"), Homepage: p.Get("Homepage")})
	}
	c.out.Records[e.Content] = list
	return nil
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func (c *scanner) list(e images.FileFacts) error {
	data, ok, err := c.read(e, dpkg.RecordLimit)
	if !ok {
		return err
	}
	from := c.text.Len()
	c.text.Write(data)
	c.out.Lists[e.Content] = span{from, c.text.Len()}
	return nil
}

func (c *scanner) copyright(e images.FileFacts) error {
	data, ok, err := c.read(e, metadataLimit)
	if !ok || !bytes.Contains(data[:min(len(data), 1024)], []byte("copyright-format")) {
		return err
	}
	// Some of these files are not quite in the form that they claim: then nothing is known of the licence.
	if paragraphs, err := debian.ParseParagraphs("/"+e.Path, string(data)); err == nil {
		if text := expression(paragraphs); text != "" {
			c.out.Licenses[e.Content] = text
		}
	}
	return nil
}

// python reads the core metadata of a distribution (packaging.python.org, "Core metadata specifications").
func (c *scanner) python(e images.FileFacts) error {
	data, ok, err := c.read(e, metadataLimit)
	if !ok {
		return err
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(data))).ReadMIMEHeader()
	if (err == nil || err == io.EOF) && header.Get("Name") != "" {
		c.out.Modules[e.Content] = []module{{Kind: Python, Name: header.Get("Name"), Version: header.Get("Version")}}
	}
	return nil
}

// inNodeModules says that a folder is that of an installed npm package.
func inNodeModules(dir string) bool {
	up := path.Dir(strings.TrimSuffix(dir, "/"))
	return path.Base(up) == "node_modules" || strings.HasPrefix(path.Base(up), "@") && path.Base(path.Dir(up)) == "node_modules"
}

func (c *scanner) npm(e images.FileFacts) error {
	data, ok, err := c.read(e, metadataLimit)
	if !ok {
		return err
	}
	var p struct{ Name, Version string }
	if json.Unmarshal(data, &p) == nil && p.Name != "" && p.Version != "" {
		c.out.Modules[e.Content] = []module{{Kind: NPM, Name: p.Name, Version: p.Version}}
	}
	return nil
}

// program reads the build information of a Go program. Other programs, and damaged ones, say nothing.
func (c *scanner) program(e images.FileFacts) {
	var magic [4]byte
	in := io.NewSectionReader(c.blob, e.Offset, e.Size)
	if _, err := in.ReadAt(magic[:], 0); err != nil || string(magic[:]) != "\x7fELF" {
		return
	}
	info, err := readBuildInfo(in)
	if err != nil {
		return
	}
	list := []module{{Kind: Go, Name: "stdlib", Version: strings.TrimPrefix(strings.Fields(info.GoVersion + " ")[0], "go")}}
	if info.Main.Path != "" {
		list = append(list, module{Kind: Go, Name: info.Main.Path, Version: info.Main.Version})
	}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		list = append(list, module{Kind: Go, Name: d.Path, Version: d.Version})
	}
	c.out.Modules[e.Content] = list
}

// readBuildInfo guards against files made to break the reader of their format.
func readBuildInfo(in io.ReaderAt) (info *buildinfo.BuildInfo, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read build information: %v", p)
		}
	}()
	info, err = buildinfo.Read(in)
	if err == nil && len(strings.Fields(info.GoVersion)) == 0 {
		err = fmt.Errorf("read build information: no version")
	}
	return info, err
}
