package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// confirm asks a person on the terminal unless -y is given. Without a terminal it never asks.
func (c *cli) confirm(question string) error {
	if c.flags.yes {
		return nil
	}
	if !c.interactive() {
		return fault.New(fault.Invalid, "%s Nobody can be asked here", question).WithHint("-y says yes")
	}
	fmt.Fprintf(c.out.stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil {
		return fault.New(fault.Interrupted, "no answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fault.New(fault.Failed, "not confirmed, nothing changed")
}
