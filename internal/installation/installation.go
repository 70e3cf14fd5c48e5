// Package installation says what the id of an installation looks like. It is part of names and labels at engines and in clouds.
package installation

import "regexp"

// Form says in words what an id is.
const Form = "at most 40 of [a-z0-9-]"

var form = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9])*$`)

// Valid says whether an id can be part of all names that carry one.
func Valid(id string) bool { return len(id) <= 40 && form.MatchString(id) }
