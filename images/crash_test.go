package images

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// asVictim names, in the environment of a child process, the store that it writes to until it is killed.
const asVictim = "IMAGES_TEST_VICTIM"

// victimChild bakes, unpacks, removes and sweeps without end.
func victimChild(dir string) int {
	s, err := Open(dir)
	for i := 0; err == nil; i++ {
		err = victimRound(s, i)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func victimRound(s *Store, i int) error {
	ctx := context.Background()
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	var layers []Layer
	for n := range 3 {
		w, err := s.NewLayer(ctx, 0)
		if err != nil {
			return err
		}
		for f := range 20 {
			content := fmt.Appendf(nil, "%d %d %d", i, n, f)
			if err := w.Add(Entry{Path: fmt.Sprintf("layer%d/%02d", n, f), Mode: 0o644, Size: int64(len(content))}, bytes.NewReader(content)); err != nil {
				return err
			}
		}
		l, err := w.Commit("")
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	d, err := s.Put(ctx, Image{Config: testConfig(), Layers: layers}, "victim")
	if err != nil {
		return err
	}
	if _, err := s.Rootfs(ctx, d); err != nil {
		return err
	}
	release()
	if i%3 == 2 {
		if err := s.Remove(ctx, d, false); err != nil {
			return err
		}
	}
	if i%5 == 4 {
		_, err = s.GC(ctx, sweeping(-1))
	}
	return err
}

// Whenever the process dies, what is listed is whole, what was listed before stays, and a collection leaves no leftovers.
func TestKilledAnywhere(t *testing.T) {
	s, ctx := newStore(t), context.Background()
	mine := putImage(t, s, "mine", fileLayer(t, s, "a", "x"))
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 15 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), asVictim+"="+s.Dir())
		check(t, cmd.Start())
		timer := time.AfterFunc(time.Duration(10+random.IntN(200))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
			t.Fatalf("seed %d: the child ended by itself: %v", seed, err)
		}
		timer.Stop()
		for _, info := range must[[]Info](t)(s.List()) {
			for _, b := range must[[]Descriptor](t)(s.Blobs(info.Digest)) {
				if got := DigestOf([]byte(readFile(t, s.blobPath(b.Digest)))); got != b.Digest {
					t.Fatalf("seed %d: blob %s has digest %s", seed, b.Digest, got)
				}
			}
		}
	}
	must[Image](t)(s.Get(mine))
	checkRoots(t, s)
	sweep(t, s, -1)
	for _, info := range must[[]Info](t)(s.List()) {
		check(t, s.Remove(ctx, info.Digest, false))
	}
	for _, pattern := range []string{"blobs/sha256/*", "blobs/sha256/.*", "rootfs/*/*", ".tmp-*"} {
		if left := must[[]string](t)(filepath.Glob(s.path(pattern))); len(left) != 0 {
			t.Errorf("seed %d: left: %v", seed, left)
		}
	}
}

// checkRoots unpacks every image again where it is not, and looks whether all files are there.
func checkRoots(t *testing.T, s *Store) {
	t.Helper()
	for _, info := range must[[]Info](t)(s.List()) {
		root := must[string](t)(s.Rootfs(context.Background(), info.Digest))
		files := must[[]string](t)(filepath.Glob(filepath.Join(root, "layer*/*")))
		if info.Name == "victim" && len(files) != 60 {
			t.Errorf("root of %s has %d files", info.Digest, len(files))
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: "a", Size: 3}, tar.Header{Name: "b", Linkname: "a", Typeflag: tar.TypeLink}))
	f.Add(tarOf(f, tar.Header{Name: "l", Linkname: "../..", Typeflag: tar.TypeSymlink}, tar.Header{Name: "l/x", Size: 1}))
	f.Add(tarOf(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "d/.wh..wh..opq"}, tar.Header{Name: ".wh.d"}))
	f.Add(tarOf(f, tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		check(t, os.WriteFile(filepath.Join(outer, "canary"), []byte("alive"), 0o600))
		check(t, os.Mkdir(filepath.Join(outer, "root"), 0o755))
		root := must[*os.Root](t)(os.OpenRoot(filepath.Join(outer, "root")))
		defer root.Close()
		u := newUnpacker(root, idSpace{variant: "single-0"}, Limits{Entries: 1000, Devices: 10}.withDefaults())
		defer u.close()
		err := u.layer(context.Background(), bytes.NewReader(data), int64(len(data)), DigestOf(data))
		if err == nil {
			check(t, u.finish())
		}
		if got := readFile(t, filepath.Join(outer, "canary")); got != "alive" {
			t.Fatalf("outside: %q", got)
		}
		if entries := must[[]os.DirEntry](t)(os.ReadDir(outer)); len(entries) != 2 {
			t.Fatalf("outside: %v", entries)
		}
	})
}

func FuzzDockerArchive(f *testing.F) {
	layer := tarOf(f, tar.Header{Name: "a", Size: 1})
	manifest := []map[string]any{{"Config": "config.json", "RepoTags": []string{"a:b"}, "Layers": []string{"layer.tar"}}}
	f.Add(archiveOf(f, manifest, archiveConfig(DigestOf(layer)), layer))
	f.Add(archiveOf(f, manifest, archiveConfig("sha256:x"), layer, tar.Header{Name: "l", Linkname: "l", Typeflag: tar.TypeSymlink}))
	dir := f.TempDir()
	s, err := Open(filepath.Join(dir, "images"), WithLimits(Limits{LayerBytes: 1 << 20}))
	check(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "archive.tar")
		check(t, os.WriteFile(path, data, 0o600))
		d, err := s.Import(context.Background(), Source{Path: path})
		if err != nil {
			return
		}
		if err := s.complete(d); err != nil {
			t.Fatalf("an incomplete image was listed: %v", err)
		}
	})
}
