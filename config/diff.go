package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Change is one value that differs between two configurations.
type Change struct {
	Path string `json:"path"` // "fleet.size", "cutover.steps[1].hold"
	From string `json:"from"` // as JSON; "" where there was none
	To   string `json:"to"`   // as JSON; "" where there is none
}

// Diff is what differs from a to b, defaults filled in, sorted by path. Whether releases are compared is "cutover.verdict", on or off,
// and how is told as if both sides did. Values that Redacted hides are "***" on both sides and stand there because they differ.
func Diff(a, b *App) []Change {
	from, to := flatten(a), flatten(b)
	shownFrom, shownTo := flatten(Redacted(a)), flatten(Redacted(b))
	paths := map[string]bool{}
	for path := range from {
		paths[path] = true
	}
	for path := range to {
		paths[path] = true
	}
	var changes []Change
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if from[path] != to[path] {
			changes = append(changes, Change{Path: path, From: shownFrom[path], To: shownTo[path]})
		}
	}
	return changes
}

// flatten is a configuration as its single values in JSON, by path.
func flatten(a *App) map[string]string {
	out := map[string]string{}
	whole := *a
	verdict, on := a.Cutover.Judged()
	verdict.Off = false
	whole.Cutover.Verdict = &verdict
	data, err := json.Marshal(&whole)
	if err != nil {
		return out
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return out
	}
	flattenInto(out, "", tree)
	out["cutover.verdict"] = `"off"`
	if on {
		out["cutover.verdict"] = `"on"`
	}
	return out
}

func flattenInto(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			name := key
			if path != "" {
				name = path + "." + key
			}
			flattenInto(out, name, value)
		}
	case []any:
		for i, value := range v {
			flattenInto(out, path+"["+strconv.Itoa(i)+"]", value)
		}
	case nil:
	default:
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(fmt.Sprint(v))
		}
		out[path] = string(text)
	}
}
