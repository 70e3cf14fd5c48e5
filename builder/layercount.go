package builder

import (
	"github.com/bootandshoot/release/internal/fault"
)

// maxLayers is what engines take: the overlay of Docker's has room for 128 folders.
const maxLayers = 125

// roomFor refuses a recipe whose steps would be too many layers, before the first of them is made. A run step may change
// nothing and so have none: those count when they are done.
func (b *bake) roomFor(list []step, st *state) error {
	sure := len(st.layers)
	for _, s := range list {
		if _, run := s.(*runStep); !run {
			sure++
		}
	}
	if b.recipe.Supervised() {
		sure++
	}
	switch {
	case sure <= maxLayers:
		return nil
	case len(st.layers) > maxLayers || len(list) == 0:
		return b.inBase(fault.New(fault.Invalid, "it has %d layers, engines take %d", len(st.layers), maxLayers).
			WithHint("use a base with fewer, such as one whose layers were joined"))
	}
	last := list[0]
	for n, i := len(st.layers), 0; i < len(list) && n <= maxLayers; i++ {
		if _, run := list[i].(*runStep); !run {
			last, n = list[i], n+1
		}
	}
	return tooMany(last, sure)
}

// tooMany is the error of an image with so many layers, at the step that is one too many.
func tooMany(s step, layers int) error {
	return inStep(s, fault.New(fault.Invalid, "the image would have %d layers, engines take %d", layers, maxLayers).
		WithHint("a step is a layer, so take away %d or more: copy a folder instead of its files one by one, put files into one archive, join commands of run with &&", layers-maxLayers))
}
