package main

import (
	"strings"
	"unicode"
)

// harmless is text that programs of an image, packages or servers wrote, without what would steer the reader's terminal or hide
// what stands beside it: control characters but for line ends and tabs, and marks that turn the direction of writing.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return -1
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return '�'
		}
		return r
	}, text)
}
