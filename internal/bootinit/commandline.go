package main

import (
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// commandLine is what the kernel's command line says to this program. Words of others are passed over.
type commandLine struct {
	hash   string // of the root's hash tree, in hex
	blocks uint64 // of the root, of 4096 bytes
	data   []volume
	init   string
}

// volume is a file system that keeps what is written.
type volume struct {
	label, path string
	seed        bool // a new one gets what the image has at its path
}

const (
	hashDigits = 64 // of SHA-256
	maxBlocks  = 1 << 40
	idDigits   = 16 // of the root hash in the names of partitions
)

func parseCommandLine(text string) (commandLine, error) {
	line := commandLine{init: "/sbin/init"}
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "release.root":
			err = line.setRoot(value)
		case "release.data":
			err = line.addData(value)
		case "init":
			line.init = value
		}
		if err != nil {
			return line, fmt.Errorf("read %s of the kernel's command line: %w", key, err)
		}
	}
	if line.hash == "" {
		return line, fmt.Errorf("the kernel's command line has no release.root")
	}
	if !path.IsAbs(line.init) {
		return line, fmt.Errorf("read init of the kernel's command line: %q is no absolute path", line.init)
	}
	return line, nil
}

func (l *commandLine) setRoot(value string) error {
	hash, blocks, _ := strings.Cut(value, ":")
	if _, err := hex.DecodeString(hash); err != nil || len(hash) != hashDigits {
		return fmt.Errorf("%q does not begin with %d hexadecimal digits", value, hashDigits)
	}
	n, err := strconv.ParseUint(blocks, 10, 64)
	if err != nil || n == 0 || n > maxBlocks {
		return fmt.Errorf("%q does not end with a number of blocks", value)
	}
	if l.hash != "" {
		return fmt.Errorf("it is there twice")
	}
	l.hash, l.blocks = strings.ToLower(hash), n
	return nil
}

func (l *commandLine) addData(value string) error {
	label, at, _ := strings.Cut(value, ":")
	at, seed := strings.CutPrefix(at, "seed:")
	if label == "" || !path.IsAbs(at) || path.Clean(at) != at || at == "/" {
		return fmt.Errorf("%q is not LABEL:/PATH or LABEL:seed:/PATH", value)
	}
	l.data = append(l.data, volume{label, at, seed})
	return nil
}

// id is what names the partitions of the root.
func (l commandLine) id() string { return l.hash[:idDigits] }
