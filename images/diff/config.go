package diff

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bootandshoot/release/images"
)

// settings compares configurations.
func settings(a, b images.Image) []Setting {
	list := []Setting{}
	from, to := flatten(a), flatten(b)
	for _, key := range unionKeys(from, to) {
		x, inA := from[key]
		y, inB := to[key]
		switch {
		case !inA:
			list = append(list, Setting{Key: key, Change: Added, To: y})
		case !inB:
			list = append(list, Setting{Key: key, Change: Removed, From: x})
		case x != y:
			list = append(list, Setting{Key: key, Change: Changed, From: x, To: y})
		}
	}
	return list
}

// flatten gives each setting a key; those that are not set have none.
func flatten(img images.Image) map[string]string {
	c := img.Config.Config
	all := map[string]string{"platform": platform(img), "command": commandText(img.Command()), "user": c.User,
		"workdir": c.WorkingDir, "ports": portText(img.Ports()), "stop-signal": c.StopSignal,
		"volumes": strings.Join(slices.Sorted(maps.Keys(c.Volumes)), " ")}
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		all["env "+name] = value
	}
	for name, value := range c.Labels {
		all["label "+name] = value
	}
	for name, value := range img.Annotations {
		switch name {
		case images.AnnotationServices, images.AnnotationExtensions, images.AnnotationPorts:
			// shown by themselves
		default:
			all["annotation "+name] = value
		}
	}
	for key, value := range all {
		if value == "" && !strings.Contains(key, " ") {
			delete(all, key)
		}
	}
	return all
}

func platform(img images.Image) string {
	text := img.Config.OS + "/" + img.Config.Architecture
	if img.Config.Variant != "" {
		text += "/" + img.Config.Variant
	}
	return text
}

func portText(ports []int) string {
	return strings.Trim(fmt.Sprint(ports), "[]")
}

// commandText is a command that can be typed: words with other than plain characters are quoted.
func commandText(command []string) string {
	var words []string
	for _, w := range command {
		if w == "" || strings.ContainsFunc(w, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:@%,", r)
		}) {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}
