// Package spread makes one fleet driver of several, each of which sees one host: its nodes are spread over them.
//
// Which node boots where is the caller's to decide and to journal (fleet.NodeSpec.Host), since nobody could tell after a crash
// where a node was to be whose host does not answer. What is asked of a fleet is asked of every host at the same time. A host
// that does not answer keeps nobody waiting: after a first call in vain the next ones fail at once, but for one every retryAfter,
// and calls under way there are given up. Calls say which hosts were not asked (fleet.HostsAway).
package spread
