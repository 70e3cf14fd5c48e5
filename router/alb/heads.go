package alb

import (
	"fmt"

	"github.com/bootandshoot/release/router"
)

// mostTries is how often a look is believed to be behind what was written, a pause apart.
const mostTries = 30

// lastHead is the head that was written or seen last: AWS may show an older one for a while.
type lastHead struct {
	head
	obeyed router.Version // that the rules obey, when this process made them
	older  int            // how often an older head was listed since
	torn   int            // how often its pieces did not fit together
}

// follow compares the head that is listed with the last one. One that stays older was put there by somebody, and is believed.
func (k knowledge) follow(first *group) error {
	var listed head
	if first != nil && first.tags[tagTable] != "" {
		var err error
		if listed, err = readHead(first.tags[tagTable]); err != nil {
			return nil // who reads the table says so
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if listed.write < k.last.write && k.last.older < mostTries {
		k.last.older++
		return fmt.Errorf("%w: it shows table %s, and %s was written", errAgain, listed.version, k.last.version)
	}
	if listed != k.last.head {
		k.last = lastHead{head: listed}
	}
	k.last.older = 0
	if first != nil && k.last.obeyed != (router.Version{}) {
		first.tags[tagEffective] = k.last.obeyed.String()
	}
	return nil
}

func (k knowledge) wrote(h head) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.last
	if k.last = (lastHead{head: h}); h.version == before.version {
		k.last.obeyed = before.obeyed
	}
}

func (k knowledge) obeyed(version router.Version) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last.obeyed = version
}

// torn is whether it is worth to look again for pieces that fit together.
func (k knowledge) torn() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last.torn++
	return k.last.torn < mostTries
}

func (k knowledge) whole() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last.torn = 0
}
