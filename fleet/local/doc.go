// Package local is what drivers share that run nodes on the machine of the agent, each node in a folder of its own.
//
// A driver's folder:
//
//	nodes/<node>/record.json   what is kept of the node, from before its start to its removal
//	nodes/<node>/…             what the driver needs besides
//	trash/                     what was removed, on its way out
package local
