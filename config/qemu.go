package config

// DriverQEMU is the driver of machines of the agent's machine.
const DriverQEMU = "qemu"

// asMachines checks a fleet whose nodes are machines of the agent's machine, and finds what such cannot have.
func (c *checker) asMachines(f *Fleet) {
	if f.Driver == DriverQEMU && len(f.Volumes) > 0 {
		_ = c.fail(c.root.LocateKey("fleet", "volumes"), "fleet.volumes: nodes that are machines of the agent's machine have no volumes").
			WithHint("keep data outside of the nodes, or use driver docker or sandbox")
	}
}
