package orchestrator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// Basis is what a plan rests on: an operation that runs it begins only where nothing of this has changed.
type Basis struct {
	At      time.Time         `json:"at"`
	Kind    Kind              `json:"kind"`
	Release string            `json:"release,omitempty"` // that it moves to
	Image   string            `json:"image,omitempty"`
	Images  map[string]string `json:"images,omitempty"` // by role, of an app with roles
	Config  map[string]string `json:"config,omitempty"` // digest of each section of the configuration, by its name
	Fleets  []BasisFleet      `json:"fleets"`           // that serve, or are ready to
}

// BasisFleet is one of them.
type BasisFleet struct {
	ID      string `json:"id"`
	Release string `json:"release"`
	Name    string `json:"name"` // for people: the release, in an app with roles with its role
	Percent int    `json:"percent"`
	Size    int    `json:"size"`
}

// basisOf is what a request's plan rests on.
func basisOf(s *State, req asked) Basis {
	b := Basis{Kind: req.Kind, Image: req.Image, Images: req.images(), Fleets: s.basis()}
	cfg := req.Config
	if rel := s.release(req.Release); req.Kind == KindCutover && rel != nil {
		b.Image, b.Images, cfg = rel.Image, rel.Images, &rel.Config
	}
	if cfg != nil {
		b.Config = sections(cfg)
	}
	return b
}

// basis are the fleets that serve or are ready to. Warm ones come to their end by themselves.
func (s *State) basis() []BasisFleet {
	list := []BasisFleet{}
	for _, fl := range s.Fleets {
		if fl.Weight > 0 || fl.State == FleetReady && !fl.Kept {
			list = append(list, BasisFleet{ID: fl.ID.String(), Release: fl.ID.Release, Name: s.nameOf(fl), Percent: fl.Weight, Size: s.size(fl)})
		}
	}
	return list
}

// sections digests a configuration by its parts, so that it can be said which of them has changed.
func sections(cfg *config.App) map[string]string {
	out := map[string]string{}
	data, err := json.Marshal(cfg)
	if err != nil {
		return out
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return out
	}
	for name, part := range parts {
		out[name] = digestOf(part)[:32]
	}
	return out
}

// moved refuses an operation that was just begun by a plan where the world is not that of the plan any more; s is the state
// before. nil: it is.
func (r *round) moved(s *State, op *Operation, plan *Basis) error {
	if plan == nil {
		return nil
	}
	var what []string
	if op.Release != plan.Release {
		what = append(what, plan.Release+" was launched already")
	}
	rel := r.s.release(op.Release)
	if rel == nil || !rel.runs(plan.Image, plan.Images) {
		what = append(what, "the image is another one")
	}
	if rel != nil {
		what = append(what, otherSections(plan.Config, sections(&rel.Config))...)
	}
	what = append(what, otherFleets(plan.Fleets, slices.DeleteFunc(s.basis(), func(fl BasisFleet) bool {
		return fl.Release == op.Release && plan.Kind != KindCutover && fl.Percent == 0 // what the plan launches was launched
	}))...)
	if len(what) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, "%s %s: the world has moved since the plan was made: %s", op.Kind, r.s.Key, strings.Join(what, "; ")).
		WithHint("make a new one: release plan")
}

func otherSections(was, is map[string]string) (what []string) {
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if was[name] != is[name] {
			what = append(what, fmt.Sprintf("%s is configured differently", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, still := is[name]; !still {
			what = append(what, fmt.Sprintf("%s is not configured any more", name))
		}
	}
	return what
}

// otherFleets says what is there that was not, and the other way round.
func otherFleets(was, is []BasisFleet) (what []string) {
	find := func(list []BasisFleet, id string) (BasisFleet, bool) {
		i := slices.IndexFunc(list, func(fl BasisFleet) bool { return fl.ID == id })
		if i < 0 {
			return BasisFleet{}, false
		}
		return list[i], true
	}
	for _, then := range was {
		now, there := find(is, then.ID)
		switch {
		case !there && then.Percent > 0:
			what = append(what, fmt.Sprintf("%s served %d %% and does not any more", then.Name, then.Percent))
		case !there:
			what = append(what, fmt.Sprintf("%s was launched and is gone", then.Name))
		case now.Percent != then.Percent:
			what = append(what, fmt.Sprintf("%s serves %d %%, it was %d %%", now.Name, now.Percent, then.Percent))
		case now.Size != then.Size:
			what = append(what, fmt.Sprintf("%s has a size of %d, it was %d", now.Name, now.Size, then.Size))
		}
	}
	for _, now := range is {
		if _, there := find(was, now.ID); !there && now.Percent > 0 {
			what = append(what, fmt.Sprintf("%s serves %d %%", now.Name, now.Percent))
		} else if !there {
			what = append(what, fmt.Sprintf("%s was launched", now.Name))
		}
	}
	return what
}
