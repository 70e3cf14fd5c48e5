package diff

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/bootandshoot/release/internal/fault"
)

// annotated compares the things that an annotation lists, which is JSON: an object by name, or a list of objects with a
// name each. A label of the same name counts where there is no annotation.
func (c *comparison) annotated(name string) ([]Item, error) {
	from, err := c.a.listed(name)
	if err != nil {
		return nil, err
	}
	to, err := c.b.listed(name)
	if err != nil {
		return nil, err
	}
	return items(from, to), nil
}

// items compares by name; more than one of a name has its version in it.
func items(from, to map[string]string) []Item {
	list := []Item{}
	for _, key := range unionKeys(from, to) {
		a, inA := from[key]
		b, inB := to[key]
		switch {
		case !inA:
			list = append(list, Item{Name: key, Change: Added, To: b})
		case !inB:
			list = append(list, Item{Name: key, Change: Removed, From: a})
		case a != b:
			list = append(list, Item{Name: key, Change: Changed, From: a, To: b})
		}
	}
	slices.SortStableFunc(list, func(a, b Item) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (x side) listed(name string) (map[string]string, error) {
	text := cmp.Or(x.files.Image.Annotations[name], x.files.Image.Config.Config.Labels[name])
	if text == "" {
		return nil, nil
	}
	found, err := parseListed([]byte(text))
	if err != nil {
		return nil, fault.New(fault.Invalid, "image %s: read annotation %s: %w", x.digest.Short(), name, err)
	}
	return found, nil
}

func parseListed(data []byte) (map[string]string, error) {
	found := map[string]string{}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		var byName map[string]json.RawMessage
		if err := json.Unmarshal(data, &byName); err != nil {
			return nil, err
		}
		for name, value := range byName {
			found[name] = describeItem(value)
		}
		return found, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	for _, value := range list {
		var named struct{ Name string }
		if err := json.Unmarshal(value, &named); err != nil {
			return nil, err
		}
		found[named.Name] = describeItem(value)
	}
	return found, nil
}

// describeItem is the text that is compared and shown: in canonical form, so that spaces and order mean nothing.
func describeItem(value json.RawMessage) string {
	var all any
	if json.Unmarshal(value, &all) != nil {
		return string(value)
	}
	if object, ok := all.(map[string]any); ok {
		delete(object, "name")
		if len(object) == 1 && object["version"] != nil {
			all = object["version"]
		}
	}
	if text, ok := all.(string); ok {
		return text
	}
	canonical, err := json.Marshal(all)
	if err != nil {
		return string(value)
	}
	return string(canonical)
}
