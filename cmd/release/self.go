package main

import (
	"os"
	"strings"
)

// selfPath is this program's file, for processes that outlive us; when it was replaced or removed since we started, what
// the kernel still has of it.
func selfPath() string {
	path, err := os.Executable()
	if err != nil || strings.HasSuffix(path, " (deleted)") {
		return "/proc/self/exe"
	}
	return path
}
