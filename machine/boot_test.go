package machine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/builder/disk"
	"github.com/bootandshoot/release/debian/deb"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/machine"
	"github.com/bootandshoot/release/test/tools/kerneltest"
)

// patience bounds every wait for a machine: emulated ones on a busy machine are slow.
const patience = 6 * time.Minute

// image is a disk of the guest program, in all forms.
type image struct {
	raw            string
	kernel, initrd string
	cmdline        string
	program        []byte
}

// makeImage bakes an image of one static program, without anything else, into a disk.
func makeImage(t *testing.T) image {
	t.Helper()
	dir := t.TempDir()
	img := image{raw: filepath.Join(dir, "disk.raw"), kernel: filepath.Join(dir, "vmlinuz"), initrd: filepath.Join(dir, "initrd")}
	img.program = guest(t, dir)
	stub, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		t.Fatalf("%v; .ci/prepare installs it, or: apt-get install systemd-boot-efi", err)
	}
	k := kernel(t)
	raw := create(t, img.raw)
	res, err := disk.Build(t.Context(), raw, disk.Request{Files: files(t, img.program), Kernel: k, Stub: stub,
		Data: []disk.Volume{{Label: "data", Path: "/srv/data"}}, Cmdline: []string{"init=/app"}})
	if err != nil {
		t.Fatal(err)
	}
	img.cmdline = res.Cmdline
	if err := errors.Join(os.WriteFile(img.kernel, k.Image, 0o644), os.WriteFile(img.initrd, res.Initrd, 0o644)); err != nil {
		t.Fatal(err)
	}
	return img
}

func create(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func guest(t *testing.T, dir string) []byte {
	t.Helper()
	out := filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", out, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// kernel is Debian's, with what hears a power button.
func kernel(t *testing.T) disk.Kernel {
	t.Helper()
	f, err := os.Open(kerneltest.Need(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := deb.Open(f, info.Size(), deb.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := disk.ReadKernel(t.Context(), p, append(disk.BootModules(), "button", "evdev"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(k.Release, "-cloud-amd64") {
		t.Errorf("the kernel is %s", k.Release)
	}
	return k
}

func files(t *testing.T, program []byte) *images.Files {
	t.Helper()
	s, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.NewLayer(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(images.Entry{Path: "app", Type: images.File, Mode: 0o755, Size: int64(len(program))}, bytes.NewReader(program)); err != nil {
		t.Fatal(err)
	}
	l, err := w.Commit("test")
	if err != nil {
		t.Fatal(err)
	}
	img := images.Image{Layers: []images.Layer{l}}
	img.Config.OS, img.Config.Architecture = "linux", "amd64"
	d, err := s.Put(t.Context(), img, "guest")
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Files(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// running is a machine that goes with its test.
type running struct {
	*machine.Machine
	t    *testing.T
	port int
}

func start(t *testing.T, s machine.Spec) running {
	t.Helper()
	a, why, err := machine.Accelerate(t.Context())
	if err != nil {
		t.Fatalf("%v; .ci/prepare installs it", err)
	}
	t.Logf("accelerator %s %s", a, why)
	port := freePort(t)
	s.Dir, s.Accelerator, s.Forwards = t.TempDir(), a, []machine.Forward{{Host: port, Guest: 8080}}
	m, err := machine.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	r := running{m, t, port}
	t.Cleanup(func() {
		_ = m.Kill(context.Background())
		if t.Failed() {
			t.Logf("console:\n%s", r.console())
		}
	})
	return r
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r running) console() string {
	data, err := os.ReadFile(r.Console())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// get asks the machine until it answers, or has ended.
func (r running) get(path string) (int, string) {
	r.t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(patience); ; {
		answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", r.port, path))
		if err == nil {
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err == nil {
				return answer.StatusCode, string(body)
			}
		}
		select {
		case <-r.Done():
			r.t.Fatal("the machine is gone")
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("no answer within %s: %v", patience, err)
		}
	}
}

func (r running) wait() machine.Exit {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	exit, err := r.Wait(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return exit
}

// volume is a data volume.
func volume(t *testing.T) machine.Disk {
	t.Helper()
	name := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command("/sbin/mke2fs", "-q", "-t", "ext4", "-L", "data", name, "8M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s; apt-get install e2fsprogs", err, out)
	}
	return machine.Disk{Path: name}
}

func TestMachines(t *testing.T) {
	img := makeImage(t)
	direct := &machine.Kernel{Image: img.kernel, Initrd: img.initrd, Cmdline: img.cmdline}

	t.Run("a kernel directly", func(t *testing.T) {
		data := volume(t)
		r := start(t, machine.Spec{Kernel: direct, Disks: []machine.Disk{{Path: img.raw, ReadOnly: true}, data},
			Settings: []machine.Setting{{Name: "release/greeting", Data: []byte("hello")}}})
		began := time.Now()
		if code, body := r.get("/healthz"); code != http.StatusOK || body != "ok\n" {
			t.Fatalf("%d %q", code, body)
		}
		t.Logf("healthy after %s", time.Since(began))
		if code, body := r.get("/file/sys/firmware/qemu_fw_cfg/by_name/opt/release/greeting/raw"); code != http.StatusOK || body != "hello" {
			t.Errorf("the setting reads %d %q", code, body)
		}
		for _, path := range []string{"/inmemory", "/srv/data/kept"} {
			if code, body := r.get("/write" + path); code != http.StatusOK {
				t.Errorf("write %s: %d %s", path, code, body)
			}
		}
		if sid, err := unix.Getsid(r.PID); err != nil || sid != r.PID {
			t.Errorf("its session is %d, its process %d: %v", sid, r.PID, err)
		}
		again, err := machine.Open(filepath.Dir(r.Console()))
		if err != nil || again.Gone() {
			t.Fatalf("it is not found again: %v", err)
		}
		if err := again.Stop(t.Context(), patience); err != nil {
			t.Fatal(err)
		}
		if exit, err := again.Wait(t.Context()); err != nil || exit.How != machine.Off {
			t.Errorf("it ended by %q: %v", exit.How, err)
		}
		if exit := r.wait(); exit.How != machine.Off {
			t.Errorf("who waits later hears of %q", exit.How)
		}
		if got := kept(t, data.Path); !strings.Contains(got, "written") {
			t.Errorf("the volume keeps %q", got)
		}
	})

	t.Run("firmware and NVMe, from blocks read back from EC2", func(t *testing.T) {
		r := start(t, machine.Spec{Disks: []machine.Disk{{Path: uploaded(t, img.raw), Format: machine.QCOW2, Interface: machine.NVMe, Throwaway: true}, volume(t)}})
		began := time.Now()
		if code, body := r.get("/healthz"); code != http.StatusOK || body != "ok\n" {
			t.Fatalf("%d %q", code, body)
		}
		t.Logf("healthy after %s", time.Since(began))
		if err := r.Stop(t.Context(), 0); err != nil || !r.Gone() {
			t.Fatalf("it was not killed: %v", err)
		}
		if exit := r.wait(); exit.How != machine.Killed {
			t.Errorf("it ended by %q", exit.How)
		}
	})

	t.Run("a changed root", func(t *testing.T) {
		changed := flip(t, img)
		r := start(t, machine.Spec{Kernel: direct, Disks: []machine.Disk{{Path: changed}, volume(t)}})
		if exit := r.wait(); exit.How != machine.Reset {
			t.Errorf("it ended by %q", exit.How)
		}
		if text := r.console(); !strings.Contains(text, "is corrupted") {
			t.Error("the console does not say what is wrong")
		}
	})

	t.Run("no first program", func(t *testing.T) {
		nowhere := *direct
		nowhere.Cmdline += " init=/nowhere"
		r := start(t, machine.Spec{Kernel: &nowhere, Disks: []machine.Disk{{Path: img.raw, ReadOnly: true}, volume(t)}})
		if exit := r.wait(); exit.How != machine.Off {
			t.Errorf("it ended by %q", exit.How)
		}
		if text := r.console(); !strings.Contains(text, "this machine does not boot: run /nowhere of the image") {
			t.Error("the console does not say what is wrong")
		}
	})
}

func kept(t *testing.T, volume string) string {
	t.Helper()
	out, err := exec.Command("/sbin/debugfs", "-R", "cat /kept", volume).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// flip copies the disk with one bit of the program changed.
func flip(t *testing.T, img image) string {
	t.Helper()
	data, err := os.ReadFile(img.raw)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, img.program[:4096])
	if at < 0 {
		t.Fatal("the program is not on the disk")
	}
	data[at+200] ^= 1
	name := filepath.Join(t.TempDir(), "changed.raw")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "disk")
	if err := os.WriteFile(good, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	disks := []machine.Disk{{Path: good}}
	for name, test := range map[string]struct {
		spec machine.Spec
		code fault.Code
	}{
		"nothing":        {machine.Spec{Dir: dir}, fault.Invalid},
		"a bad folder":   {machine.Spec{Dir: "x", Disks: disks}, fault.Invalid},
		"no disk there":  {machine.Spec{Dir: dir, Disks: []machine.Disk{{Path: good + "x"}}}, fault.NotFound},
		"a bad format":   {machine.Spec{Dir: dir, Disks: []machine.Disk{{Path: good, Format: "vmdk"}}}, fault.Invalid},
		"a bad setting":  {machine.Spec{Dir: dir, Disks: disks, Settings: []machine.Setting{{Name: "a,file=b"}}}, fault.Invalid},
		"no firmware":    {machine.Spec{Dir: dir, Disks: disks, Firmware: machine.Firmware{Code: "/x", Vars: "/y"}}, fault.Unsupported},
		"no accelerator": {machine.Spec{Dir: dir, Disks: disks, Accelerator: "fast"}, fault.Invalid},
		"odd memory":     {machine.Spec{Dir: dir, Disks: disks, Memory: 1234}, fault.Invalid},
		"what QEMU says": {machine.Spec{Dir: dir, Disks: []machine.Disk{{Path: good, Format: machine.QCOW2}}, Kernel: &machine.Kernel{Image: good, Initrd: good}}, fault.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := machine.Start(t.Context(), test.spec)
			if err == nil {
				_ = m.Kill(t.Context())
			}
			if !fault.Is(err, test.code) {
				t.Errorf("the error is %v, not of the code %s", err, test.code)
			}
		})
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := machine.Start(over, machine.Spec{Dir: dir, Disks: disks}); !errors.Is(err, context.Canceled) {
		t.Errorf("a start that nobody waits for is %v", err)
	}
	if m, err := machine.Open(dir); err != nil || !m.Gone() {
		t.Errorf("it left something behind: %v", err)
	}
	if _, err := machine.Open(t.TempDir()); !fault.Is(err, fault.NotFound) {
		t.Errorf("an empty folder is %v", err)
	}
}
