package healthcheck

// lane is a queue of nodes by their next turn (a container/heap), with its own bound on probes under way.
type lane struct {
	waiting []*node
	running int
	limit   int
}

func (l *lane) Len() int           { return len(l.waiting) }
func (l *lane) Less(i, j int) bool { return l.waiting[i].due.Before(l.waiting[j].due) }

func (l *lane) Swap(i, j int) {
	l.waiting[i], l.waiting[j] = l.waiting[j], l.waiting[i]
	l.waiting[i].index, l.waiting[j].index = i, j
}

func (l *lane) Push(x any) {
	n := x.(*node)
	n.index = len(l.waiting)
	l.waiting = append(l.waiting, n)
}

func (l *lane) Pop() any {
	last := len(l.waiting) - 1
	n := l.waiting[last]
	l.waiting[last] = nil
	l.waiting = l.waiting[:last]
	n.index = -1
	return n
}
