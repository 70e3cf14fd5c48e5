package builder

import (
	"context"
	"fmt"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// TestResult is a test of the recipe that the image has passed.
type TestResult struct {
	Name    string  `json:"name"`
	Cached  bool    `json:"cached"` // it has passed before, on this same image
	Seconds float64 `json:"seconds"`
}

// testHostname is what an image that is tested is called.
const testHostname = "release-test"

// testsPassed is the record of an image that passed its tests.
type testsPassed struct {
	Schema int      `json:"schema"`
	Image  string   `json:"image"`
	Tests  []string `json:"tests"` // names, for people who look into the cache
}

// test boots the image as a node would be and runs the recipe's tests against it. An image that passed them before is not
// booted again.
func (b *bake) test(ctx context.Context, m *made) error {
	if len(b.tests) == 0 {
		return nil
	}
	digest, err := m.image.Digest()
	if err != nil {
		return err
	}
	record := b.cache.spread("tests", keyOf("tests", digest, testInputs(b.tests)))
	var passed testsPassed
	if !b.o.NoCache && b.cache.load(record, &passed) && passed.Schema == cacheSchema {
		for _, t := range b.tests {
			b.beginTest(testName(t)).passed(&m.result, true)
		}
		return nil
	}
	if err := b.runTests(ctx, m); err != nil {
		return err
	}
	passed = testsPassed{Schema: cacheSchema, Image: string(digest)}
	for _, t := range b.tests {
		passed.Tests = append(passed.Tests, testName(t))
	}
	return b.cache.save(record, passed)
}

// testInputs is all of tests but where they stand.
func testInputs(list []recipes.Test) []any {
	var all []any
	for _, t := range list {
		in := []any{t.Cmd, t.User, t.Within}
		if h := t.HTTP; h != nil {
			body := ""
			if h.Body != nil {
				body = h.Body.String()
			}
			in = append(in, h.Path, h.Port, h.Host, h.Status, body)
		}
		all = append(all, in)
	}
	return all
}

func testName(t recipes.Test) string {
	if t.HTTP != nil {
		return short(fmt.Sprintf("test GET :%d%s", t.HTTP.Port, t.HTTP.Path))
	}
	text := commandText(t.Cmd)
	if strings.HasPrefix(text, "test ") {
		return short(text) // which says what it is itself
	}
	return short("test " + text)
}

// runTests boots the image and runs all tests, up to the first that fails.
func (b *bake) runTests(ctx context.Context, m *made) error {
	t, err := b.boot(ctx, m)
	if err != nil {
		return at(b.tests[0].Pos, fmt.Errorf("boot image for its tests: %w", err))
	}
	defer t.close()
	for _, test := range b.tests {
		p := b.beginTest(testName(test))
		if err := t.run(ctx, test); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return at(test.Pos, fmt.Errorf("%s: %w", testName(test), err))
		}
		p.passed(&m.result, false)
	}
	return nil
}

// at gives an error the place of a test.
func at(pos recipes.Position, err error) error {
	e := *fault.All(err)[0]
	e.Cause = err
	if e.File == "" {
		e.File, e.Line, e.Column = pos.File, pos.Line, pos.Column
	}
	return &e
}
