package builder

import (
	"context"

	"github.com/bootandshoot/release/images"
)

// state is an image half made: its layers so far.
type state struct {
	store  *images.Store
	base   images.Digest // image that the first layers are from; "" for scratch
	under  int           // how many layers are the base's
	layers []images.Layer
	public map[images.Digest]bool // layers with nothing but files of verified packages: everybody has them, no search for secrets

	tree    *tree // of the first applied layers; made when needed
	applied int
}

// chain names the state: the diff ids of its layers in order.
func (s *state) chain() string {
	ids := make([]images.Digest, len(s.layers))
	for i, l := range s.layers {
		ids[i] = l.DiffID
	}
	return keyOf("chain", ids)
}

// look gives the tree of all layers.
func (s *state) look(ctx context.Context) (*tree, error) {
	if s.tree == nil {
		s.tree = newTree()
	}
	for ; s.applied < len(s.layers); s.applied++ {
		if err := s.tree.apply(ctx, s.store, s.layers[s.applied]); err != nil {
			s.tree, s.applied = nil, 0
			return nil, err
		}
	}
	return s.tree, nil
}

// trust says of a layer that all its files come unchanged out of verified packages.
func (s *state) trust(layer images.Digest) {
	if s.public == nil {
		s.public = map[images.Digest]bool{}
	}
	s.public[layer] = true
}

// add puts a layer on top.
func (s *state) add(l images.Descriptor, by string) {
	s.layers = append(s.layers, images.Layer{Descriptor: l, DiffID: l.Digest, CreatedBy: by})
}
