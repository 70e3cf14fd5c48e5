// Command guest is the only program of the machines that tests boot. It gives itself the address that QEMU's user network
// expects, answers over HTTP, and powers off when the power button is pressed.
package main

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if err := address("eth0", [4]byte{10, 0, 2, 15}, [4]byte{255, 255, 255, 0}); err != nil {
		fmt.Println("guest: address:", err)
	}
	go awaitButton()
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("/file/", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(strings.TrimPrefix(r.URL.Path, "/file"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
		}
		_, _ = w.Write(data)
	})
	http.HandleFunc("/write/", func(w http.ResponseWriter, r *http.Request) {
		if err := os.WriteFile(strings.TrimPrefix(r.URL.Path, "/write"), []byte("written"), 0o644); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	fmt.Println("guest: here:", http.ListenAndServe(":8080", nil))
}

// address sets address and mask of an interface and brings it up (netdevice(7)).
func address(name string, ip, mask [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, step := range []struct {
		request uint
		ip      [4]byte
	}{{unix.SIOCSIFADDR, ip}, {unix.SIOCSIFNETMASK, mask}} {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := r.SetInet4Addr(step.ip[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, step.request, r); err != nil {
			return err
		}
	}
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// awaitButton reads input events (the kernel's include/uapi/linux/input.h).
func awaitButton() {
	const size, key, power = 24, 1, 116
	list, _ := filepath.Glob("/dev/input/event*")
	for _, name := range list {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		go func() {
			event := make([]byte, size)
			for {
				if n, err := f.Read(event); err != nil || n < size {
					return
				}
				if binary.NativeEndian.Uint16(event[16:]) == key && binary.NativeEndian.Uint16(event[18:]) == power {
					_ = unix.Unmount("/srv/data", 0)
					_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
				}
			}
		}()
	}
}
