// Package sandbox is the fleet driver that runs nodes as isolated processes of this machine, without any engine. Each
// node is a detached sandbox (package sandbox at the top of the project): its init owns its log and its exit, and
// goes on when the agent ends.
//
// As the machine's root a node has a network namespace, an address on our bridge and a way out by NAT, so that it
// listens on the port that its image declares. As an ordinary user nodes share the machine's network: node number
// SLOT listens on 127.0.0.1 at the first port of the range plus SLOT, which $PORT says.
//
// # On disk
//
//	nodes/NAME/record.json   what the node is and where its init runs; see record
//	nodes/NAME/upper, work   what the node wrote; scratch
//	nodes/NAME/log…          and the other files of a detached sandbox
//	logs/NAME.log            the end of the log of a removed node; the newest 200 are kept
//	trash/                   folders of removed nodes on their way out
//	network-ID.json          the subnet that was chosen
//
// A record is written twice: "booting" before anything else is done for the node, and "started", with the identity of
// the init, before the init gets leave to start the command. So after a crash at any instruction a record that says
// booting means that the node's command never ran: a new driver clears it away. An init whose agent died before the
// leave ends by itself. Records hold no secrets.
//
// Records survive the end of the agent, not necessarily that of the machine, where the nodes end too; those of jobs
// (kind once) do.
package sandbox
