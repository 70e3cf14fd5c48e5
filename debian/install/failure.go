package install

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/sandbox"
)

const (
	tailLines = 20   // of a failed script's output, which its error repeats
	maxLine   = 4096 // a longer line is cut in pieces
)

// output hands what scripts write on by line, keeps its end, and follows what the driver does.
type output struct {
	tell func(Event)
	rest []byte
	tail []string
	step string // preinst NAME, or configure
	// of dpkg's own messages
	failedPackage string
	failedScript  string
}

func (o *output) Write(p []byte) (int, error) {
	o.rest = append(o.rest, p...)
	for {
		i := bytes.IndexByte(o.rest, '\n')
		if i < 0 && len(o.rest) < maxLine {
			return len(p), nil
		}
		if i < 0 || i > maxLine {
			i = maxLine - 1
		}
		o.line(string(o.rest[:i+1]))
		o.rest = o.rest[i+1:]
	}
}

func (o *output) flush() {
	if len(o.rest) > 0 {
		o.line(string(o.rest))
		o.rest = nil
	}
}

var (
	dpkgError   = regexp.MustCompile(`^dpkg: error processing package (\S+) \(--configure\):`)
	dpkgScript  = regexp.MustCompile(`installed (\S+) package (\S+) script subprocess (.*)$`)
	shortScript = map[string]string{"post-installation": "postinst", "pre-installation": "preinst"}
)

func (o *output) line(text string) {
	text = strings.ToValidUTF8(strings.TrimRight(text, "\r\n"), "\uFFFD")
	if step, ok := strings.CutPrefix(text, mark); ok {
		o.step, o.tail = step, nil
		return
	}
	if m := dpkgError.FindStringSubmatch(text); m != nil && o.failedPackage == "" {
		o.failedPackage = m[1]
	}
	if m := dpkgScript.FindStringSubmatch(text); m != nil && o.failedScript == "" {
		name := m[2]
		if short, ok := shortScript[name]; ok {
			name = short
		}
		o.failedScript = name + ": " + m[3]
	}
	if o.tail = append(o.tail, text); len(o.tail) > tailLines {
		o.tail = o.tail[1:]
	}
	o.tell(Event{Kind: Output, Line: text})
}

// failed says which package, which script, how it ended and what it wrote last.
func (s *stage) failed(exit sandbox.Exit, o *output) error {
	how := fmt.Sprintf("ended with exit code %d", exit.Code)
	if exit.Signal != "" {
		how = "was ended by signal " + exit.Signal
	}
	if exit.Reason != "" {
		how += " (" + exit.Reason + ")"
	}
	what, name := "dpkg --configure", ""
	if pre, ok := strings.CutPrefix(o.step, "preinst "); ok {
		name, what = pre, "its preinst script"
	} else if o.failedPackage != "" {
		name = o.failedPackage
		what, how = "its configuration", "failed"
		if o.failedScript != "" {
			script, rest, _ := strings.Cut(o.failedScript, ": ")
			what, how = "its "+script+" script", rest
		}
	}
	text := what + " " + how
	for _, p := range s.packages {
		if base, _, _ := strings.Cut(name, ":"); p.Name == base && name != "" {
			text = fmt.Sprintf("package %s %s: %s", p.Name, p.Version, text)
			break
		}
	}
	if len(o.tail) > 0 {
		text += "; the last output was:\n  " + strings.Join(o.tail, "\n  ")
	}
	return fault.New(fault.Failed, "%s", text).
		WithHint("the script runs in a sandbox without network and services: see what it asks for, leave the package out, or choose another version of it")
}
