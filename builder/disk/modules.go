package disk

import (
	"bytes"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// module is what a kernel module says of itself.
type module struct {
	name    string   // with _ for -, as the kernel has it
	needs   []string // modules whose symbols it uses
	before  []string // softdep: what should be there before it, as names or aliases; may be missing
	aliases []string // other names without wildcards
}

// parseModule reads the section .modinfo: strings KEY=VALUE, each ended by a zero byte (the kernel's include/linux/module.h).
func parseModule(data []byte) (module, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return module{}, fmt.Errorf("read it as ELF: %w", err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return module{}, fault.New(fault.Failed, "it has no .modinfo, so it is no kernel module")
	}
	if s.Size > uint64(len(data)) {
		return module{}, fault.New(fault.Failed, "its .modinfo is cut off")
	}
	info, err := s.Data()
	if err != nil {
		return module{}, fmt.Errorf("read its .modinfo: %w", err)
	}
	return parseModinfo(info), nil
}

func parseModinfo(info []byte) module {
	var m module
	for line := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(line), "=")
		switch key {
		case "name":
			m.name = moduleName(value)
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					m.needs = append(m.needs, moduleName(name))
				}
			}
		case "softdep":
			m.before = append(m.before, softBefore(value)...)
		case "alias":
			if !strings.ContainsAny(value, "*?[") {
				m.aliases = append(m.aliases, moduleName(value))
			}
		}
	}
	return m
}

// softBefore gives the names between "pre:" and "post:" of a softdep.
func softBefore(value string) []string {
	var list []string
	in := false
	for _, word := range strings.Fields(value) {
		if strings.HasSuffix(word, ":") {
			in = word == "pre:"
		} else if in {
			list = append(list, moduleName(word))
		}
	}
	return list
}

// moduleName is the form in which names are compared: files have dashes where the kernel has underscores.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// loadOrder lists the wanted modules and all that they need, each behind what it needs. What is built in is passed over; a
// wanted module that is neither is fault.Unsupported. Modules of one kernel do not need each other in circles; if they claim
// to, it is fault.Failed.
func loadOrder(modules map[string]module, builtin []string, wanted []string) ([]string, error) {
	o := ordering{modules: modules, builtin: builtin, alias: map[string]string{}, state: map[string]int{}}
	for _, name := range sortedKeys(modules) {
		for _, a := range modules[name].aliases {
			if _, taken := o.alias[a]; !taken {
				o.alias[a] = name
			}
		}
	}
	for _, name := range wanted {
		if err := o.visit(moduleName(name), "the boot"); err != nil {
			return nil, err
		}
	}
	return o.list, nil
}

type ordering struct {
	modules map[string]module
	builtin []string
	alias   map[string]string
	state   map[string]int // 1: being visited, 2: listed
	list    []string
}

func (o *ordering) visit(name, by string) error {
	m, ok := o.modules[name]
	switch {
	case !ok && slices.Contains(o.builtin, name):
		return nil
	case !ok:
		return fault.New(fault.Unsupported, "the kernel has no module %s, which %s needs", name, by).
			WithHint("use a kernel that has it, such as linux-image-cloud-amd64")
	case o.state[name] == 1:
		return fault.New(fault.Failed, "kernel module %s needs itself by way of %s", name, by)
	case o.state[name] == 2:
		return nil
	}
	o.state[name] = 1
	for _, before := range m.before {
		if real, ok := o.alias[before]; ok {
			before = real
		}
		if _, ok := o.modules[before]; !ok || o.state[before] == 1 {
			continue
		}
		if err := o.visit(before, name); err != nil {
			return err
		}
	}
	for _, need := range m.needs {
		if err := o.visit(need, name); err != nil {
			return err
		}
	}
	o.state[name] = 2
	o.list = append(o.list, name)
	return nil
}
