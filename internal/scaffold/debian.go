package scaffold

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	debianImage = regexp.MustCompile(`(?:^|/)debian:([a-z]+)(?:-[0-9]+)?(?:-slim)?$`)
	aptInstall  = regexp.MustCompile(`\bapt(?:-get)?\b[^&;|]*?\sinstall\s([^&;|]*)`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]+(?:=[^\s"'$]+)?$`)
)

// debianNote says what a recipe has instead of apt-get in a Debian image; "" when the Dockerfile does not do that.
func (s *stage) debianNote() string {
	var packages []string
	for _, run := range s.shell {
		for _, m := range aptInstall.FindAllStringSubmatch(run, -1) {
			for _, word := range strings.Fields(m[1]) {
				if packageName.MatchString(word) && !slices.Contains(packages, word) {
					packages = append(packages, word)
				}
			}
		}
	}
	m := debianImage.FindStringSubmatch(s.from)
	if m == nil || len(packages) == 0 || slices.Contains([]string{"latest", "stable", "oldstable", "testing", "unstable"}, m[1]) {
		return ""
	}
	return fmt.Sprintf("apt-get in a run step gives another image every day; these lines instead pin each package: base: {debian: %s} and packages: [%s]",
		m[1], strings.Join(packages, ", "))
}
