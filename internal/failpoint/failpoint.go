// Package failpoint names the places between two steps at which a process may die and everything must go on: tests kill it at
// each of them. Programs are built without it: Pass, Begins and Ends are empty then, and nothing of them is left in the binary.
//
// Built with the tag failpoints, these variables say what is done:
//
//	RELEASE_FAILPOINT_DIR  folder, must exist. Each passing appends "PID POINT\n" to the file passed in it
//	RELEASE_FAILPOINT      POINT:N. The process that passes the point for the N-th time (1 is the first) makes the file died in the
//	                       folder, "PID POINT:N\n", and is killed by SIGKILL, before its next instruction. Where the file is there
//	                       already nothing dies any more: one run is one death
//
// A new point is a constant here, an entry of Points, and a call of Pass where it is. test/crash goes through all of them.
package failpoint

// Point is the name of a place.
type Point string

// The places. "X.write" is before a thing is durable, "X.written" after, when nobody was told yet.
const (
	JournalWrite   Point = "journal.write"   // a change is decided, with what it begins
	JournalWritten Point = "journal.written" // nothing was begun

	PrepareBegin Point = "prepare.begin" // the image is brought to the hosts
	PrepareEnd   Point = "prepare.end"
	BootBegin    Point = "boot.begin"
	BootEnd      Point = "boot.end"
	TailBegin    Point = "tail.begin" // the last lines of a node that failed
	TailEnd      Point = "tail.end"
	RemoveBegin  Point = "remove.begin"
	RemoveEnd    Point = "remove.end"
	DestroyBegin Point = "destroy.begin"
	DestroyEnd   Point = "destroy.end"
	HookBegin    Point = "hook.begin"
	HookEnd      Point = "hook.end"
	VolumeBegin  Point = "volume.begin" // a volume is removed with its data
	VolumeEnd    Point = "volume.end"
	AskBegin     Point = "ask.begin" // a question of abort_on
	AskEnd       Point = "ask.end"

	TableApply   Point = "table.apply"   // the agent hands a table to the router
	TableApplied Point = "table.applied" // the router confirmed it

	RootUnpacked Point = "root.unpacked" // an image's files are there under another name
	RootRenamed  Point = "root.renamed"
	PinWritten   Point = "pin.written" // images in use are kept from being removed

	NodeRecorded Point = "node.recorded" // its folder has a record, nothing runs
	NodeForked   Point = "node.forked"   // its first process waits, the record does not know it
	NodeReady    Point = "node.ready"    // the record knows it, the command was not let go
	NodeStarted  Point = "node.started"
	NodeKilled   Point = "node.killed"  // nothing runs, its folder is there
	NodeTrashed  Point = "node.trashed" // its folder was moved away

	RouterWrite   Point = "router.write"
	RouterWritten Point = "router.written" // the table is on the disk, another one is in effect
	RouterSwapped Point = "router.swapped" // it is in effect, the agent does not know

	BlobWrite    Point = "blob.write" // the bytes of a layer are there under another name
	BlobWritten  Point = "blob.written"
	StepWritten  Point = "step.written" // the cache knows a step of a bake
	IndexWrite   Point = "index.write"  // all of an image is there, no list has it
	IndexWritten Point = "index.written"
)

// Process is what passes a point.
type Process string

const (
	Agent  Process = "agent"
	Router Process = "router"
	Bake   Process = "bake"
)

// Points are all places, each with the process that passes it.
func Points() map[Point]Process {
	return map[Point]Process{
		JournalWrite: Agent, JournalWritten: Agent,
		PrepareBegin: Agent, PrepareEnd: Agent, BootBegin: Agent, BootEnd: Agent, TailBegin: Agent, TailEnd: Agent,
		RemoveBegin: Agent, RemoveEnd: Agent, DestroyBegin: Agent, DestroyEnd: Agent, HookBegin: Agent, HookEnd: Agent,
		VolumeBegin: Agent, VolumeEnd: Agent, AskBegin: Agent, AskEnd: Agent,
		TableApply: Agent, TableApplied: Agent,
		RootUnpacked: Agent, RootRenamed: Agent, PinWritten: Agent,
		NodeRecorded: Agent, NodeForked: Agent, NodeReady: Agent, NodeStarted: Agent, NodeKilled: Agent, NodeTrashed: Agent,
		RouterWrite: Router, RouterWritten: Router, RouterSwapped: Router,
		BlobWrite: Bake, BlobWritten: Bake, StepWritten: Bake, IndexWrite: Bake, IndexWritten: Bake,
	}
}
