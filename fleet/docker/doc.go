// Package docker runs the nodes of fleets as containers of a Docker engine (API 1.40 or later), by the engine's own
// API.
//
// What it makes at the engine, all of it labelled with the installation's id and nothing else ever touched:
//
//   - containers, named as the nodes, labelled with all that is needed to know them again: release.installation,
//     release.fleet, release.node, release.slot, release.image (manifest digest), release.kind, release.port,
//     release.address, release.spec (version of these labels, "1"). The engine never restarts one: replacing is the
//     orchestrator's.
//   - one bridge network "release-<installation>", made with the first node and removed with the last fleet. A
//     node's address in it is the subnet's first usable address but one (the first is the gateway's), plus its slot.
//   - volumes "release-<installation>.<app>.<env>.<role>.<name>", labelled release.installation and release.volume. They stay
//     until RemoveVolume.
//   - images under the name "<registry>/release/<installation>", pulled by digest from the agent's own endpoint on
//     loopback so that only missing layers move. An engine that cannot reach it is sent an archive of the missing
//     layers. With a fleet, images that no container of the installation uses any more are removed.
//
// Where the machine cannot reach addresses of the bridge (an engine on another host, in a desktop's virtual machine,
// or a rootless one), a node's port is published at the engine's host instead, at PublishFrom plus its slot.
//
// Secrets are in the container's environment: the engine keeps them in its own state (readable by root and by who
// may use the engine), as it does for every container.
package docker
