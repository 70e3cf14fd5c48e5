package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// networkPatience is how long services wait for an address.
const networkPatience = 30 * time.Second

// network brings loopback and the first card up, keeps the card's lease for as long as the machine lives, and says whether there is an
// address.
func network() bool {
	if err := linkUp("lo"); err != nil {
		say("loopback: " + err.Error())
	}
	card := firstCard()
	if card == "" {
		say("no network card")
		return false
	}
	err := linkUp(card)
	var c *client
	if err == nil {
		c, err = newClient(card)
	}
	if err != nil {
		say("network: " + err.Error())
		return false
	}
	ready := make(chan struct{})
	first := sync.OnceFunc(func() { close(ready) })
	go c.keep(context.Background(), func(l lease) error {
		err := configure(card, l)
		if err == nil {
			first()
		}
		return err
	}, func(err error) { say("network: " + err.Error()) })
	select {
	case <-ready:
		return true
	case <-time.After(networkPatience):
		say("network: no address yet")
		return false
	}
}

// firstCard is the name of the first Ethernet card, in the order of names.
func firstCard() string {
	list, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		return ""
	}
	for _, dir := range list {
		const ethernet = "1" // ARPHRD_ETHER
		kind, err := os.ReadFile(dir + "/type")
		if _, virtual := os.Stat(dir + "/device"); err == nil && virtual == nil && strings.TrimSpace(string(kind)) == ethernet {
			return filepath.Base(dir)
		}
	}
	return ""
}

// control is a socket for requests to interfaces (netdevice(7)).
func control(do func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

func linkUp(name string) error {
	return control(func(fd int) error {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		r.SetUint16(r.Uint16() | unix.IFF_UP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("bring %s up: %w", name, err)
		}
		return nil
	})
}

// configure gives a card its address, the default route and the name servers.
func configure(name string, l lease) error {
	err := control(func(fd int) error {
		for _, step := range []struct {
			request uint
			ip      netip.Addr
		}{{unix.SIOCSIFADDR, l.address}, {unix.SIOCSIFNETMASK, l.mask}} {
			r, err := unix.NewIfreq(name)
			if err != nil {
				return err
			}
			if err := r.SetInet4Addr(step.ip.AsSlice()); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, step.request, r); err != nil {
				return fmt.Errorf("give %s the address %s: %w", name, l.address, err)
			}
		}
		if !l.gateway.IsValid() {
			return nil
		}
		if err := addDefaultRoute(fd, l.gateway); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("route by %s: %w", l.gateway, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return writeResolver(l)
}

// addDefaultRoute fills a struct rtentry (the kernel's include/uapi/linux/route.h), as it is on machines of 64 bits.
func addDefaultRoute(fd int, gateway netip.Addr) error {
	const (
		size                         = 120
		dst, gw, mask, flags         = 8, 24, 40, 56
		familySize, addressInAddress = 2, 4
	)
	var b [size]byte
	ne := binary.NativeEndian
	for _, at := range []int{dst, gw, mask} {
		ne.PutUint16(b[at:at+familySize], unix.AF_INET)
	}
	copy(b[gw+addressInAddress:], gateway.AsSlice())
	ne.PutUint16(b[flags:], unix.RTF_UP|unix.RTF_GATEWAY)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&b[0])))
	if errno != 0 {
		return errno
	}
	return nil
}

// writeResolver names the name servers, unless the image does.
func writeResolver(l lease) error {
	const name = "/etc/resolv.conf"
	if old, err := os.ReadFile(name); err == nil && strings.Contains(string(old), "nameserver") && !strings.HasPrefix(string(old), resolverHead) {
		return nil
	}
	var b strings.Builder
	b.WriteString(resolverHead)
	if l.domain != "" {
		fmt.Fprintf(&b, "search %s\n", l.domain)
	}
	for _, s := range l.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	_ = os.Remove(name) // it may be a link to what is not here
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(b.String()), 0o644)
}

const resolverHead = "# Written by machine-agent from DHCP.\n"

// card is what a client needs of a network card.
type card struct {
	index int
	mac   []byte
}

func cardOf(name string) (card, error) {
	read := func(file string) (string, error) {
		data, err := os.ReadFile(filepath.Join("/sys/class/net", name, file))
		return strings.TrimSpace(string(data)), err
	}
	number, err := read("ifindex")
	if err != nil {
		return card{}, err
	}
	address, err := read("address")
	if err != nil {
		return card{}, err
	}
	var c card
	if c.index, err = strconv.Atoi(number); err != nil {
		return c, fmt.Errorf("look at %s: %w", name, err)
	}
	if c.mac, err = hex.DecodeString(strings.ReplaceAll(address, ":", "")); err != nil || len(c.mac) != 6 {
		return c, fmt.Errorf("%s has no Ethernet address", name)
	}
	return c, nil
}
