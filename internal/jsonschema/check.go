package jsonschema

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// Check holds a document against a schema that Generate made, and returns what does not fit, each with its place. It
// knows the keywords that Generate writes and no other; tests use it to see that schema and decoder agree.
func Check(schema []byte, n *strictyaml.Node) ([]string, error) {
	var s any
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("check against schema: %w", err)
	}
	var c checker
	c.check(s, n)
	return c.problems, nil
}

type checker struct{ problems []string }

func (c *checker) fail(n *strictyaml.Node, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf("%d:%d: ", n.Pos.Line, n.Pos.Column)+fmt.Sprintf(format, args...))
}

func (c *checker) check(schema any, n *strictyaml.Node) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	if forms, ok := s["anyOf"].([]any); ok && !fitsOne(forms, n) {
		c.fail(n, "fits none of %d forms", len(forms))
	}
	if want, ok := s["const"]; ok && want != n.Text {
		c.fail(n, "is not %v", want)
	}
	if t, ok := s["type"].(string); ok && !hasType(t, n) {
		c.fail(n, "is not of type %s", t)
		return
	}
	switch n.Kind {
	case strictyaml.Map:
		c.object(s, n)
	case strictyaml.List:
		if least, ok := s["minItems"].(float64); ok && float64(len(n.Items)) < least {
			c.fail(n, "has too few items")
		}
		for _, item := range n.Items {
			c.check(s["items"], item)
		}
	default:
		c.scalar(s, n)
	}
}

func fitsOne(forms []any, n *strictyaml.Node) bool {
	for _, form := range forms {
		var c checker
		if c.check(form, n); len(c.problems) == 0 {
			return true
		}
	}
	return false
}

func hasType(t string, n *strictyaml.Node) bool {
	switch t {
	case "object":
		return n.Kind == strictyaml.Map
	case "array":
		return n.Kind == strictyaml.List
	case "string":
		return n.Kind == strictyaml.Text
	case "boolean":
		return n.Kind == strictyaml.Bool
	case "integer":
		return n.Kind == strictyaml.Int
	}
	return n.Kind == strictyaml.Int || n.Kind == strictyaml.Float
}

func (c *checker) object(s map[string]any, n *strictyaml.Node) {
	props, _ := s["properties"].(map[string]any)
	for _, e := range n.Entries {
		p, known := props[e.Key]
		if !known {
			p = s["additionalProperties"]
		}
		if p == false {
			c.fail(n, "has the unknown property %s", e.Key)
			continue
		}
		c.check(p, e.Value)
	}
	names, _ := s["required"].([]any)
	for _, name := range names {
		if key, _ := name.(string); n.Get(key) == nil {
			c.fail(n, "lacks %s", key)
		}
	}
}

func (c *checker) scalar(s map[string]any, n *strictyaml.Node) {
	if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(n.Text) {
		c.fail(n, "does not match %s", pattern)
	}
	if choices, ok := s["enum"].([]any); ok && !isOne(choices, n.Text) {
		c.fail(n, "is none of %v", choices)
	}
	f, err := strconv.ParseFloat(n.Text, 64)
	if least, ok := s["minimum"].(float64); ok && (err != nil || f < least) {
		c.fail(n, "is below %v", least)
	}
	if most, ok := s["maximum"].(float64); ok && (err != nil || f > most) {
		c.fail(n, "is above %v", most)
	}
}

func isOne(choices []any, text string) bool {
	for _, choice := range choices {
		if choice == text {
			return true
		}
	}
	return false
}
