package builder

import (
	"context"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/upper"
)

// capture makes a layer of what a command changed; nil when that is nothing.
func (b *bake) capture(ctx context.Context, st *state, dir, by string) (*images.Descriptor, error) {
	var correct func(*images.Entry)
	if b.lacksIDs() {
		lower, err := st.look(ctx)
		if err != nil {
			return nil, err
		}
		correct = lower.ownersBelow
	}
	list, err := upper.Read(ctx, dir, correct)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if err := b.findValues(list); err != nil {
		return nil, err
	}
	w, err := upper.Write(ctx, b.store, b.epoch, list)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	l, err := w.Commit(by)
	if err != nil {
		return nil, err
	}
	return &l.Descriptor, nil
}

// ownersBelow gives an entry the owner that is recorded below. With one id only nothing on the disk has another owner,
// and no command can have changed one. A file that a command moved becomes root's: its old name is not known.
func (t *tree) ownersBelow(e *images.Entry) {
	e.UID, e.GID = 0, 0
	if n := t.lookup(e.Path); n != nil {
		e.UID, e.GID = n.uid, n.gid
		e.Mode |= n.mode & 0o6000 // unpacking left them out for the same reason
	}
}
