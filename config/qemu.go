package config

import "strings"

// DriverQEMU is the driver of machines of the agent's machine.
const DriverQEMU = "qemu"

// asMachines checks a fleet whose nodes are machines of the agent's machine, and finds what such cannot have.
func (c *checker) asMachines(f *Fleet) {
	if f.Driver != DriverQEMU {
		return
	}
	for i, v := range f.Volumes {
		at := indexed("fleet.volumes", i)
		if v.Writer == WriterMany {
			c.fail(c.at("fleet", "volumes", i, "writer"), "%s.writer: a machine has the disk of its volume alone, so it cannot be many", at).
				WithHint("writer: one, or driver docker or sandbox")
		}
		if strings.ContainsFunc(v.Path, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			c.fail(c.at("fleet", "volumes", i, "path"), "%s.path %q: the kernel of a machine is told it, which takes only visible ASCII without quotes", at, v.Path)
		}
	}
}
