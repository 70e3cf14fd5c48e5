package machines

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// A volume has what the image has at its path, once. What a node wrote is there for the next one, also when its machine was shot and nothing
// had been synced; and that one's file system is as large as its disk.
func volumeOfImage(t *testing.T, d fleet.Driver, image string) {
	v := fleet.VolumeMount{Volume: fleet.VolumeID{App: "seeded", Env: "test", Role: "web", Name: "data"}, Path: "/srv/seeded", OneWriter: true}
	keeper := d.(fleet.VolumeKeeper)
	boot := func(incarnation int, size int64) (fleet.FleetID, fleet.Node) {
		t.Helper()
		v.Size = size
		spec := fleet.Spec{Fleet: fleet.FleetID{App: "seeded", Env: "test", Role: "web", Release: "r1", Incarnation: incarnation}, Installation: "one",
			Kind: fleet.Serve, Image: image, Port: 8080, Nodes: []fleet.NodeSpec{{Name: "seeded-r1-n1", Slot: 201}}, Volumes: []fleet.VolumeMount{v}}
		nodes, err := d.Ensure(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return spec.Fleet, nodes[0]
	}
	const small, large = 32 << 20, 64 << 20
	first, n := boot(1, small)
	if got := question(t, n, "/read", "path", "/srv/seeded/file"); got != "of the image" {
		t.Errorf("a new volume has %q", got)
	}
	// Once: a second time it is not there. An answer that comes too late is as good, for the file is looked for below.
	if code, _, err := get(n, "/remove", "path", "/srv/seeded/file"); err == nil && code != http.StatusOK {
		t.Errorf("remove: status %d", code)
	}
	question(t, n, "/write", "path", "/srv/seeded/own", "text", "of a node")
	question(t, n, "/stubborn")
	if err := d.Destroy(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	second, n := boot(2, large)
	if got := question(t, n, "/read", "path", "/srv/seeded/own"); got != "of a node" {
		t.Errorf("the next node reads %q", got)
	}
	if code, text := reply(t, n, "/read", "path", "/srv/seeded/file"); code == http.StatusOK {
		t.Errorf("a file that was removed has %q", text)
	}
	if err := d.Destroy(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	list, err := keeper.Volumes(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != v.Volume {
		t.Fatalf("volumes: %+v, %v", list, err)
	}
	if got := sizeOf(t, list[0].Where); got != large {
		t.Errorf("its file system has %d bytes, want %d", got, large)
	}
	if err := keeper.RemoveVolume(t.Context(), v.Volume); err != nil {
		t.Error(err)
	}
}

// question asks a machine what it is to answer well.
func question(t *testing.T, n fleet.Node, path string, form ...string) string {
	t.Helper()
	code, text := reply(t, n, path, form...)
	if code != http.StatusOK {
		t.Fatalf("%s: status %d, %q", path, code, text)
	}
	return text
}

// reply asks a machine until it has answered.
func reply(t *testing.T, n fleet.Node, path string, form ...string) (code int, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		code, text, err := get(n, path, form...)
		if err == nil {
			return code, text
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

func get(n fleet.Node, path string, form ...string) (int, string, error) {
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + n.Address + path + "?" + values.Encode())
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), errors.Join(err, res.Body.Close())
}

// sizeOf is that of the ext4 in a file, of blocks of 4096 bytes. [the kernel's Documentation/filesystems/ext4/super.rst]
func sizeOf(t *testing.T, name string) int64 {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	blocks := make([]byte, 4)
	if _, err := f.ReadAt(blocks, 1024+4); err != nil {
		t.Fatal(err)
	}
	return int64(binary.LittleEndian.Uint32(blocks)) * 4096
}
