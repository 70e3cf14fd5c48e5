package haproxy

import (
	"net"
	"os"
	"strconv"
)

// hasIPv6 says whether this machine can listen on IPv6.
func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// sameNetwork says whether a process is on our network, as far as that can be seen: then its ports are ours.
func sameNetwork(pid int) bool {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return false
	}
	other, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net")
	return err == nil && own == other
}
