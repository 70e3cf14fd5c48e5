package awstest

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// Policies says how a document's policy is to be bounded.
type Policies struct {
	Document string   // path of the page; its first JSON block is the policy
	Makes    []string // actions on what is not there yet, which can have no tag
	Tags     string   // the action that tags, also what one of those makes
	Created  string   // the condition's key that says which one made it
	Free     []string // actions that need no permission
}

// statement is one of a policy.
type statement struct {
	Sid, Effect, Resource string
	Action                []string
	Condition             map[string]map[string]any
}

// Hold fails the test unless the policy allows the calls that were made and no others, each statement under a name of its own, and what changes
// anything only on what carries our tag.
func (p Policies) Hold(t testing.TB, calls []Call) {
	t.Helper()
	var allowed []string
	for _, s := range p.read(t) {
		for _, action := range s.Action {
			if !p.bounds(s, action) {
				t.Errorf("%s allows %s on what does not carry our tag: condition %v", s.Sid, action, s.Condition)
			}
		}
		allowed = append(allowed, s.Action...)
	}
	made := map[string]bool{}
	for _, call := range calls {
		if name := call.Name(); !slices.Contains(p.Free, name) && !made[name] {
			made[name] = true
			if !slices.Contains(allowed, name) {
				t.Errorf("%s is called, and the policy of %s does not allow it", name, p.Document)
			}
		}
	}
	for _, name := range allowed {
		if !made[name] {
			t.Errorf("%s is allowed by the policy of %s, and never called", name, p.Document)
		}
	}
}

func (p Policies) read(t testing.TB) []statement {
	t.Helper()
	text, err := os.ReadFile(p.Document)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```json\n")
	block, _, ended := strings.Cut(rest, "```")
	var policy struct{ Statement []statement }
	if err := json.Unmarshal([]byte(block), &policy); err != nil || !found || !ended || len(policy.Statement) == 0 {
		t.Fatalf("%s has no policy: %v", p.Document, err)
	}
	sids := map[string]bool{}
	for _, s := range policy.Statement {
		if !slices.IsSorted(s.Action) {
			t.Errorf("not in order: %v", s.Action)
		}
		if s.Sid == "" || sids[s.Sid] || s.Effect != "Allow" || s.Resource != "*" {
			t.Errorf("statement %q: effect %q, resource %q, or there is another one of that name", s.Sid, s.Effect, s.Resource)
		}
		sids[s.Sid] = true
	}
	return policy.Statement
}

// bounds is whether an action changes nothing, makes something, tags what one of those makes, or is for what carries our tag.
func (p Policies) bounds(s statement, action string) bool {
	if on, tagged := s.Condition["Null"]["aws:ResourceTag/release.installation"]; tagged {
		return on == "false" && len(s.Condition) == 1
	}
	service, verb, _ := strings.Cut(action, ":")
	if action == p.Tags {
		by, _ := s.Condition["StringEquals"][p.Created].([]any)
		return len(by) > 0 && !slices.ContainsFunc(by, func(one any) bool {
			name, _ := one.(string)
			return !slices.Contains(p.Makes, service+":"+name)
		})
	}
	return strings.HasPrefix(verb, "Describe") || strings.HasPrefix(verb, "Get") || slices.Contains(p.Makes, action)
}
