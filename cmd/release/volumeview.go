package main

import (
	"fmt"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
)

// volumeLines are the volumes that are kept, and who has them.
func (o *output) volumeLines(volumes []api.Volume, now time.Time) []string {
	var lines []string
	for _, v := range volumes {
		who := "for all nodes"
		switch {
		case v.Node != "":
			who = fmt.Sprintf("%s has it, since %s", o.bold(v.Node), span(now.Sub(v.Since)))
		case v.Writer == config.WriterOne:
			who = "nobody has it"
		}
		lines = append(lines, fmt.Sprintf("  volume     %s/%s  %s%s", v.Role, v.Name, who, o.dim("  "+v.Driver)))
	}
	return lines
}
