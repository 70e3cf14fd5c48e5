package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// PortRange is ports First to Last, both included. Its text form is "20000-29999".
type PortRange struct{ First, Last int }

// Size is the number of ports.
func (r PortRange) Size() int { return r.Last - r.First + 1 }

// String is the text form.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// MarshalText gives the text form.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text form. Ports below 1024 are refused.
func (r *PortRange) UnmarshalText(text []byte) error {
	first, last, _ := strings.Cut(string(text), "-")
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || a < 1024 || a > b {
		return fmt.Errorf("%q is not a range of ports from 1024 to 65535 such as 20000-29999", text)
	}
	*r = PortRange{int(a), int(b)}
	return nil
}

// Subnet is an IPv4 network for nodes. Its text form is "10.213.0.0/16".
type Subnet struct{ netip.Prefix }

// UnmarshalText reads the text form: a network address and 16 to 28 bits.
func (s *Subnet) UnmarshalText(text []byte) error {
	p, err := netip.ParsePrefix(string(text))
	if err != nil || !p.Addr().Is4() || p.Bits() < 16 || p.Bits() > 28 || p.Masked() != p {
		return fmt.Errorf("%q is not an IPv4 network of 16 to 28 bits such as 10.213.0.0/16", text)
	}
	s.Prefix = p
	return nil
}
