package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/bootandshoot/release/debian"
)

// aptSource is an entry of apt's sources (sources.list(5)), of binary packages and enabled.
type aptSource struct {
	addresses  []string
	suites     []string
	components []string
	signedBy   string
}

// readAptSources reads all of a machine's sources. Entries that cannot be read do not count: they are apt's to complain about.
func readAptSources(root string) ([]aptSource, error) {
	files, err := aptFiles(root)
	if err != nil {
		return nil, err
	}
	var all []aptSource
	for _, file := range files {
		data, err := readBounded(file, maxKeyring)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		if filepath.Ext(file) == ".sources" {
			all = append(all, parseDeb822Sources(file, string(data))...)
		} else {
			all = append(all, parseOneLineSources(string(data))...)
		}
	}
	return all, nil
}

// parseDeb822Sources reads the form with fields.
func parseDeb822Sources(file, text string) []aptSource {
	paragraphs, err := debian.ParseParagraphs(file, text)
	if err != nil {
		return nil
	}
	var all []aptSource
	for _, p := range paragraphs {
		if enabled := strings.ToLower(p.Get("Enabled")); enabled == "no" || enabled == "false" || enabled == "0" || enabled == "off" {
			continue
		}
		for _, kind := range strings.Fields(p.Get("Types")) {
			if kind == "deb" {
				all = append(all, aptSource{strings.Fields(p.Get("URIs")), strings.Fields(p.Get("Suites")),
					strings.Fields(p.Get("Components")), p.Get("Signed-By")})
				break
			}
		}
	}
	return all
}

// parseOneLineSources reads lines: deb [option=value …] address suite component…
func parseOneLineSources(text string) []aptSource {
	var all []aptSource
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		if kind != "deb" {
			continue
		}
		var e aptSource
		if options, after, ok := strings.Cut(strings.TrimSpace(rest), "]"); ok && strings.HasPrefix(options, "[") {
			rest = after
			for _, option := range strings.Fields(options[1:]) {
				if value, ok := strings.CutPrefix(strings.ToLower(option), "signed-by="); ok {
					e.signedBy = option[len(option)-len(value):]
				}
			}
		}
		words := strings.Fields(rest)
		if len(words) < 2 {
			continue
		}
		e.addresses, e.suites, e.components = words[:1], words[1:2], words[2:]
		all = append(all, e)
	}
	return all
}
