package dockerapi

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/fleet"
)

// PidsLimit is how many processes and threads a node may have: enough for any service, too few to choke the host.
const PidsLimit = 4096

// LogDriver keeps a node's output; LogOptions bound it.
const LogDriver = "json-file"

// LogOptions are those of LogDriver: the size of a file, and how many are kept.
func LogOptions() map[string]string { return map[string]string{"max-size": "10m", "max-file": "3"} }

// Environment is that of a node as sorted "key=value", so that the same spec gives the same container. Secrets win over env, and PORT
// over both.
func Environment(spec fleet.Spec) []string {
	all := make(map[string]string, len(spec.Env)+len(spec.Secrets)+1)
	maps.Copy(all, spec.Env)
	maps.Copy(all, spec.Secrets)
	if spec.Port > 0 {
		all["PORT"] = strconv.Itoa(spec.Port)
	}
	return Pairs(all)
}

// Pairs is a map as sorted "key=value".
func Pairs(m map[string]string) []string {
	list := make([]string, 0, len(m))
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// Signal is a signal's name as engines take it; "" stays.
func Signal(name string) string {
	if name == "" || strings.HasPrefix(name, "SIG") {
		return name
	}
	return "SIG" + name
}
