package builder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// list gives the files of a commit.
func (r *repository) list(ctx context.Context, commit string, blobs *blobReader) ([]file, error) {
	out, err := r.command(ctx, "ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit).Output()
	if err != nil {
		return nil, fmt.Errorf("list commit %s: %w", commit, err)
	}
	files := []file{{rel: ".", kind: images.Dir, mode: 0o755}}
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if entry == "" {
			continue
		}
		f, err := r.file(entry, blobs)
		if err != nil {
			return nil, fmt.Errorf("list commit %s: %w", commit, err)
		}
		files = append(files, f)
	}
	sortFiles(files)
	return files, nil
}

// file reads an entry of git ls-tree -l: "mode type object size<tab>path".
func (r *repository) file(entry string, blobs *blobReader) (file, error) {
	meta, name, ok := strings.Cut(entry, "\t")
	fields := strings.Fields(meta)
	if !ok || len(fields) != 4 {
		return file{}, fmt.Errorf("unknown entry %q", entry)
	}
	rel, err := entryName(name)
	if err != nil {
		return file{}, fmt.Errorf("entry %q: %w", shortName(name), err)
	}
	f := file{rel: rel, mode: 0o755, kind: images.Dir}
	switch fields[0] {
	case "040000":
		return f, nil
	case "160000":
		r.b.note(r.step, "the submodule %s is left empty", rel)
		return f, nil
	}
	f.kind = images.File
	if f.size, err = strconv.ParseInt(fields[3], 10, 64); err != nil {
		return file{}, fmt.Errorf("entry %q: %w", shortName(name), err)
	}
	object := fields[2]
	f.open = func() (io.ReadCloser, error) { return blobs.open(object) }
	if fields[0] == "120000" {
		return linkFile(f)
	}
	if fields[0] != "100755" {
		f.mode = 0o644
	}
	return f, nil
}

// linkFile makes a file whose content is a link's target a link.
func linkFile(f file) (file, error) {
	r, err := f.open()
	if err != nil {
		return file{}, err
	}
	target, err := io.ReadAll(io.LimitReader(r, maxPath+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return file{}, err
	}
	if len(target) == 0 || len(target) > maxPath || bytes.ContainsRune(target, 0) {
		return file{}, fault.New(fault.Failed, "link %s: its target is empty, too long or has a zero byte", f.rel)
	}
	return file{rel: f.rel, kind: images.Symlink, mode: 0o777, link: string(target)}, nil
}

// blobReader reads objects by one git process.
type blobReader struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (r *repository) blobs(ctx context.Context) (*blobReader, error) {
	cmd := r.command(ctx, "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start git: %w", err)
	}
	return &blobReader{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 256<<10)}, nil
}

// open gives an object's content. It must be closed before the next is opened.
func (b *blobReader) open(object string) (io.ReadCloser, error) {
	if _, err := io.WriteString(b.in, object+"\n"); err != nil {
		return nil, fmt.Errorf("read object %s: %w", object, err)
	}
	head, err := b.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", object, err)
	}
	fields := strings.Fields(head)
	if len(fields) != 3 {
		return nil, fmt.Errorf("read object %s: git says %q", object, strings.TrimSpace(head))
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", object, err)
	}
	return &blob{Reader: io.LimitReader(b.out, size), out: b.out}, nil
}

func (b *blobReader) close() {
	_ = b.in.Close()
	_ = b.cmd.Wait()
}

// blob is one object's content in the stream.
type blob struct {
	io.Reader
	out *bufio.Reader
}

// Close skips what was not read, and the line end behind the content.
func (b *blob) Close() error {
	if _, err := io.Copy(io.Discard, b.Reader); err != nil {
		return err
	}
	_, err := b.out.Discard(1)
	return err
}
