package router

import "context"

// Companion works beside a data plane, in its process, and brings it tables from elsewhere than its agent.
type Companion interface {
	// Run works until ctx ends: when the process handed over to a successor, which runs a companion of its own, or when it
	// stopped in order. It goes on through the last requests of a stop.
	Run(ctx context.Context, local Local)
	// Leave is called after Run when the process stopped in order: nothing of it serves any more.
	Leave(ctx context.Context, local Local)
}

// Local is a data plane as its companion sees it.
type Local interface {
	Backend
	// Check says whether the table could be applied here now, and changes nothing. Errors are those of Apply.
	Check(ctx context.Context, t Table) error
	// Edge is the stable name of the edge, and its instance, which changes when counters begin anew.
	Edge() (id, instance string)
}
