package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
)

// Programs that handle build secrets.
func init() {
	// b64 FILE…: each in base64, behind a byte of its own.
	commands["b64"] = func(out io.Writer, names []string) error {
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprint(out, base64.StdEncoding.EncodeToString(append([]byte("x"), data...)))
		}
		return nil
	}
	// pad N FILE: N letters and then the file, in one line.
	commands["pad"] = func(out io.Writer, a []string) error {
		data, err := os.ReadFile(a[1])
		if err != nil {
			return err
		}
		for range number(a[0]) {
			fmt.Fprint(out, "x")
		}
		_, err = fmt.Fprintln(out, string(data))
		return err
	}
	commands["stat"] = func(out io.Writer, a []string) error {
		fi, err := os.Stat(a[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, fi.Mode(), fi.Size())
		return err
	}
}
