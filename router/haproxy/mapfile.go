package haproxy

import (
	"fmt"
	"slices"
	"strings"
)

// entry is one line of the map.
type entry struct{ key, value string }

// mapText is the map as a file and as a payload.
func mapText(entries []entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.key + " " + e.value + "\n")
	}
	return b.String()
}

// parseMap reads lines such as "0x558e59ef4960 KEY VALUE" ("show map FILE").
func parseMap(text string) (map[string]string, error) {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		id, rest, ok := strings.Cut(line, " ")
		if !ok || !strings.HasPrefix(id, "0x") {
			return nil, fmt.Errorf("read haproxy's map: %.100q is no line of it", line)
		}
		key, value, _ := strings.Cut(rest, " ")
		out[key] = value
	}
	return out, nil
}

// mapNamed finds the file of our map among all maps of a worker ("show map"), "" if it has none.
func mapNamed(text, folder string) string {
	for line := range strings.Lines(text) {
		_, rest, ok := strings.Cut(line, " (")
		if !ok {
			continue
		}
		name, _, ok := strings.Cut(rest, ")")
		if ok && strings.HasPrefix(name, folder+"/"+mapPrefix) && strings.HasSuffix(name, mapSuffix) {
			return name
		}
	}
	return ""
}

// payloads splits entries into pieces that fit into a command.
func payloads(entries []entry) [][]entry {
	var out [][]entry
	size := maxLine
	for _, e := range entries {
		n := len(e.key) + len(e.value) + 2
		if size+n > maxLine {
			out, size = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], e)
		size += n
	}
	return out
}

// sortEntries gives the same text for the same decisions.
func sortEntries(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
}
