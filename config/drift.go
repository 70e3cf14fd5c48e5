package config

import (
	"path"
	"strings"
	"time"
)

// What happens to a node that differs from its image.
const (
	DriftIgnore  = "ignore"  // nobody looks
	DriftReport  = "report"  // it is told
	DriftReplace = "replace" // it is told, and the node is replaced
)

// Drift says how nodes are held to their image.
type Drift struct {
	Policy string   `yaml:"policy" json:"policy" doc:"ignore: nobody looks. report: status and events tell. replace: the node is replaced too, the new one first." default:"report" enum:"ignore,report,replace"`
	Allow  []string `yaml:"allow,omitempty,flow" json:"allow,omitempty" doc:"Paths in the node that may differ, with all below them; * within a name, ** for any folders. /tmp, /run and volumes always may." pattern:"^/"`
	Every  Duration `yaml:"every" json:"every" doc:"How often each node is looked at." default:"1m"`
}

// Looks says whether nodes are looked at.
func (d Drift) Looks() bool { return d.Policy != DriftIgnore && d.Every > 0 }

// shortestLook keeps looking at nodes from being their main load.
const shortestLook = Duration(time.Second)

func (c *checker) drift(d *Drift) {
	if d.Every < shortestLook && c.decodes(new(Duration), "fleet", "drift", "every") {
		c.fail(c.at("fleet", "drift", "every"), "fleet.drift.every must be at least %s, not %s", shortestLook, d.Every).
			WithHint("to look at nothing: policy: ignore")
	}
	for i, p := range d.Allow {
		if !validPattern(p) {
			c.fail(c.at("fleet", "drift", "allow", i), "fleet.drift.allow[%d] %q must be an absolute path or a pattern such as /var/cache/**", i, p)
		}
	}
}

func validPattern(p string) bool {
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsRune(p, 0) {
		return false
	}
	for segment := range strings.SplitSeq(p, "/") {
		if _, err := path.Match(segment, ""); err != nil || strings.Contains(segment, "**") && segment != "**" {
			return false
		}
	}
	return true
}
