package config

import (
	"reflect"
	"strings"

	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// Verdict is how a new release is compared with the old one at the same time, in each step that is held. In the file it is a
// mapping, or "off".
type Verdict struct {
	Off         bool       `yaml:"-" json:"off,omitempty"`
	FalseAlarms Percent    `yaml:"false_alarms" json:"false_alarms" doc:"At most this share of cutovers to releases that are not worse is aborted, over all steps and looks together." default:"1%"`
	Missed      Percent    `yaml:"missed" json:"missed" doc:"At most this share of steps of releases that are worse than good_within allows is passed." default:"5%"`
	WorseFrom   WorseFrom  `yaml:"worse_from" json:"worse_from" doc:"Smaller differences are never held against a release, however sure they are."`
	GoodWithin  GoodWithin `yaml:"good_within" json:"good_within" doc:"A step is passed when it is shown that the differences are smaller than these."`
	Enough      int        `yaml:"enough,omitempty" json:"enough,omitempty" doc:"So many requests in a step are enough to pass it when nothing is against the release. Default: only proof is." minimum:"1"`
	Wait        Duration   `yaml:"wait" json:"wait" doc:"How long a step waits after its hold for what is not clear yet; then it is held for a person." default:"5m"`
}

// WorseFrom are differences that matter.
type WorseFrom struct {
	Errors  Percent `yaml:"errors" json:"errors" doc:"Of the shares of requests that fail, in percentage points." default:"0.1%"`
	Latency Ratio   `yaml:"latency" json:"latency" doc:"Of the 50th, 90th and 99th percentile of the latency, as a ratio. Less than 5 ms never matters." default:"1.5x"`
}

// GoodWithin are differences that are tolerated.
type GoodWithin struct {
	Errors Percent `yaml:"errors" json:"errors" doc:"Of the shares of requests that fail, in percentage points." default:"1%"`
	Slow   Percent `yaml:"slow" json:"slow" doc:"Of the shares of requests slower than the old release's 90th percentile, in percentage points." default:"10%"`
}

// VerdictOff compares nothing.
const VerdictOff = "off"

// verdictKeys is the form with keys.
type verdictKeys Verdict

// UnmarshalNode takes both forms.
func (v *Verdict) UnmarshalNode(n *strictyaml.Node, path string) error {
	switch {
	case n.Kind == strictyaml.Text && n.Text == VerdictOff:
		v.Off = true
		return nil
	case n.Kind == strictyaml.Text:
		return strictyaml.UnknownName(n.Pos, "value", n.Text, "for "+path, []string{VerdictOff}).WithHint("valid here: off, or a mapping")
	case n.Kind != strictyaml.Map:
		return strictyaml.WrongKind(n, path, "off or a mapping")
	}
	return strictyaml.DecodeAt(n, (*verdictKeys)(v), path).Err()
}

// Short is the form without keys, if it is that.
func (v Verdict) Short() (string, bool) { return VerdictOff, v.Off }

// JSONSchema of both forms.
func (*Verdict) JSONSchema() *jsonschema.Schema {
	short := &jsonschema.Schema{Type: "string", Enum: []string{VerdictOff}}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{short, jsonschema.Of(reflect.TypeFor[verdictKeys]())}}
}

// Judged is how a new release is compared with the old one, and whether it is: where the file asks for a verdict or says when to
// abort. Where it is not, Wait is for what abort_on asks.
func (c *Cutover) Judged() (Verdict, bool) {
	if c.Verdict != nil && !c.Verdict.Off {
		return *c.Verdict, true
	}
	v := Verdict{Off: c.Verdict != nil}
	strictyaml.Defaults(&v)
	return v, !v.Off && c.AbortOn != nil
}

// verdict checks that every number leaves something to show.
func (c *checker) verdict(v *Verdict) {
	if v == nil || v.Off {
		return
	}
	for _, p := range []struct {
		value Percent
		path  string
	}{
		{v.FalseAlarms, "cutover.verdict.false_alarms"}, {v.Missed, "cutover.verdict.missed"},
		{v.GoodWithin.Errors, "cutover.verdict.good_within.errors"}, {v.GoodWithin.Slow, "cutover.verdict.good_within.slow"},
	} {
		var path []any
		for key := range strings.SplitSeq(p.path, ".") {
			path = append(path, key)
		}
		if (p.value <= 0 || p.value > 50) && c.decodes(new(Percent), path...) {
			c.fail(c.at(path...), "%s must be above 0%% and at most 50%%, not %s", p.path, p.value)
		}
	}
	if v.WorseFrom.Latency < 1 && c.decodes(new(Ratio), "cutover", "verdict", "worse_from", "latency") {
		c.fail(c.at("cutover", "verdict", "worse_from", "latency"), "cutover.verdict.worse_from.latency must be at least 1x")
	}
}
