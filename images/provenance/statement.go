package provenance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// Types of what is written.
const (
	BuildType     = "https://github.com/bootandshoot/release/bake/v1"
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
	// DefaultBuilder names who bakes where nobody says otherwise: this program, run by whoever.
	DefaultBuilder = "https://github.com/bootandshoot/release"
)

// Build is what is known of a bake.
type Build struct {
	Name         string            // of the image
	Recipe       Resource          // the recipe's file
	Includes     []Resource        // recipes that it includes
	Target       string            // container or machine
	Platform     string            // os/arch
	Vars         map[string]string // given instead of the recipe's own
	Epoch        int64             // seconds since 1970
	Dependencies []Resource        // all that came from elsewhere
	Builder      string            // URI of who bakes; "" is DefaultBuilder
	Version      string            // of the program that baked; "" for none
	Products     []Resource        // bills of materials
}

// Resource is something with a digest (in-toto's ResourceDescriptor).
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"` // algorithm → hex: "sha256", "gitCommit"
}

// Statement is an in-toto statement with SLSA provenance.
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Predicate  `json:"predicate"`
}

// Predicate is SLSA provenance v1, as far as it is used.
type Predicate struct {
	Definition Definition `json:"buildDefinition"`
	Run        Run        `json:"runDetails"`
}

// Definition is what was to be built.
type Definition struct {
	Type         string     `json:"buildType"`
	External     External   `json:"externalParameters"`
	Internal     Internal   `json:"internalParameters"`
	Dependencies []Resource `json:"resolvedDependencies"`
}

// External is what the caller chose.
type External struct {
	Recipe   Resource          `json:"recipe"`
	Includes []Resource        `json:"includes,omitempty"`
	Target   string            `json:"target"`
	Platform string            `json:"platform"`
	Vars     map[string]string `json:"vars,omitempty"`
}

// Internal is what followed from the inputs.
type Internal struct {
	Epoch int64 `json:"sourceDateEpoch"`
}

// Run is who built it.
type Run struct {
	Builder  Builder    `json:"builder"`
	Products []Resource `json:"byproducts,omitempty"`
}

// Builder names who built it.
type Builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// Statement says of an image that this build made it. The same build gives the same bytes.
func (b Build) Statement(image images.Digest) ([]byte, error) {
	dependencies := slices.Clone(b.Dependencies)
	slices.SortStableFunc(dependencies, func(x, y Resource) int { return cmp.Or(cmp.Compare(x.URI, y.URI), cmp.Compare(x.Name, y.Name)) })
	if dependencies == nil {
		dependencies = []Resource{}
	}
	s := Statement{
		Type: StatementType, PredicateType: PredicateType,
		Subject: []Resource{{Name: b.Name, Digest: map[string]string{"sha256": image.Hex()}}},
		Predicate: Predicate{
			Definition: Definition{
				Type: BuildType, Dependencies: dependencies, Internal: Internal{b.Epoch},
				External: External{Recipe: b.Recipe, Includes: b.Includes, Target: b.Target, Platform: b.Platform, Vars: b.Vars},
			},
			Run: Run{Builder: Builder{ID: cmp.Or(b.Builder, DefaultBuilder)}, Products: b.Products},
		},
	}
	if b.Version != "" {
		s.Predicate.Run.Builder.Version = map[string]string{"release": b.Version}
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write provenance: %w", err)
	}
	return data, nil
}

// Parse reads a statement and checks that it says provenance of the image.
func Parse(data []byte, image images.Digest) (Statement, error) {
	var s Statement
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fault.New(fault.Invalid, "read provenance: %w", err)
	}
	if s.Type != StatementType || s.PredicateType != PredicateType {
		return s, fault.New(fault.Invalid, "read provenance: it is a %q with %q, not a statement of provenance", s.Type, s.PredicateType)
	}
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == image.Hex() {
			return s, nil
		}
	}
	return s, fault.New(fault.Denied, "read provenance: it is not about image %s", image.Short())
}
