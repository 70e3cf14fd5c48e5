package builder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/builder/secrets"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/upper"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

// secretsDir is where a run step finds its build secrets. What is in /run is in no layer.
const secretsDir = "/run/secrets/"

// secretMounts are the build secrets of a step, as files in memory. It is asked only when the step is to run: one from the
// cache needs none.
func (r *runStep) secretMounts(b *bake) ([]sandbox.Mount, error) {
	var list []sandbox.Mount
	for _, name := range r.Secrets {
		value, ok := b.o.Secrets[name]
		if !ok {
			return nil, fault.New(fault.Invalid, "it needs the build secret %s, which was not given", name).
				WithHint("add to the command: --secret %s=file:PATH, or --secret %s=env:VARIABLE", name, name)
		}
		if len(value) < secrets.MinValue {
			b.note(r.name(), "the secret %s is shorter than %d bytes: it is neither masked nor searched for", name, secrets.MinValue)
		}
		list = append(list, sandbox.Mount{Target: secretsDir + name, Memory: true, Content: value})
	}
	return list, nil
}

// findValues searches what a command wrote for the values of build secrets: names, links, attributes and content.
func (b *bake) findValues(list []upper.Piece) error {
	if len(b.o.Secrets) == 0 {
		return nil
	}
	var errs []string
	for _, p := range list {
		names, err := b.valuesIn(p)
		if err != nil {
			return fmt.Errorf("search /%s for build secrets: %w", p.Path, err)
		}
		if len(names) > 0 {
			errs = append(errs, fmt.Sprintf("/%s has the secret %s", b.values.Mask(p.Path), strings.Join(names, ", ")))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	if n := len(errs); n > maxShown {
		errs = append(errs[:maxShown], fmt.Sprintf("and %d more", n-maxShown))
	}
	return fault.New(fault.Denied, "build secrets would be in the image: %s", strings.Join(errs, "; ")).
		WithHint("let the command read them from %s and write them nowhere; /tmp and /run are in no layer", secretsDir)
}

func (b *bake) valuesIn(p upper.Piece) ([]string, error) {
	names := b.values.In(p.Path + "\x00" + p.Link)
	for _, value := range p.Xattrs {
		names = append(names, b.values.In(value)...)
	}
	if p.Type == images.File && p.Open != nil {
		f, err := p.Open()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		more, err := b.values.Find(f)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
