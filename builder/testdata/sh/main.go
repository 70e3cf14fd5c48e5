// The shell of the tests' base image: /bin/sh -c TEXT with commands joined by && and the few programs that tests need.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 3 || os.Args[1] != "-c" {
		fmt.Fprintln(os.Stderr, "usage: sh -c TEXT")
		os.Exit(2)
	}
	for part := range strings.SplitSeq(os.Args[2], "&&") {
		if err := command(strings.Fields(os.ExpandEnv(part))); err != nil {
			fmt.Fprintln(os.Stderr, "sh:", err)
			os.Exit(1)
		}
	}
}

// command runs one command, with > or >> FILE at its end.
func command(words []string) error {
	var out io.Writer = os.Stdout
	for i, w := range words {
		if w != ">" && w != ">>" {
			continue
		}
		flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
		if w == ">" {
			flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		}
		f, err := os.OpenFile(words[i+1], flags, 0o666)
		if err != nil {
			return err
		}
		defer f.Close()
		out, words = f, words[:i]
		break
	}
	if len(words) == 0 {
		return nil
	}
	run, ok := commands[words[0]]
	if !ok {
		return fmt.Errorf("%s: not found", words[0])
	}
	if err := run(out, words[1:]); err != nil {
		return fmt.Errorf("%s: %w", words[0], err)
	}
	return nil
}

type program func(out io.Writer, args []string) error

var commands = map[string]program{
	"echo":  func(out io.Writer, a []string) error { _, err := fmt.Fprintln(out, strings.Join(a, " ")); return err },
	"true":  func(io.Writer, []string) error { return nil },
	"exit":  func(_ io.Writer, a []string) error { os.Exit(number(a[0])); return nil },
	"cat":   cat,
	"mkdir": each(func(name string) error { return os.MkdirAll(name, 0o777) }),
	"rm":    each(os.RemoveAll),
	"touch": each(touch),
	"mv":    func(_ io.Writer, a []string) error { return os.Rename(a[0], a[1]) },
	"ln":    func(_ io.Writer, a []string) error { return os.Link(a[0], a[1]) },
	"lns":   func(_ io.Writer, a []string) error { return os.Symlink(a[0], a[1]) },
	"chmod": func(_ io.Writer, a []string) error { return syscall.Chmod(a[1], octal(a[0])) },
	"chown": func(_ io.Writer, a []string) error { return chown(a[0], a[1:]) },
	"fifo":  each(func(name string) error { return syscall.Mkfifo(name, 0o644) }),
	"null":  each(func(name string) error { return syscall.Mknod(name, syscall.S_IFCHR|0o666, 1<<8|3) }),
	"sock":  each(sock),
	"xattr": func(_ io.Writer, a []string) error { return syscall.Setxattr(a[0], a[1], []byte(a[2]), 0) },
	"cap": func(_ io.Writer, a []string) error {
		return syscall.Setxattr(a[0], "security.capability", capability, 0)
	},
	"ls": ls,
	"id": func(out io.Writer, _ []string) error {
		_, err := fmt.Fprintln(out, os.Getuid(), os.Getgid())
		return err
	},
	"arch":  func(out io.Writer, _ []string) error { _, err := fmt.Fprintln(out, runtime.GOARCH); return err },
	"pwd":   func(out io.Writer, _ []string) error { d, err := os.Getwd(); fmt.Fprintln(out, d); return err },
	"date":  func(out io.Writer, _ []string) error { _, err := fmt.Fprintln(out, time.Now().UnixNano()); return err },
	"world": world,
	"env":   env,
	"wait":  func(io.Writer, []string) error { time.Sleep(time.Hour); return nil },
	"dial":  func(_ io.Writer, a []string) error { _, err := net.DialTimeout("tcp", a[0], time.Second); return err },
	"lines": lines,
}

// capability is cap_net_bind_service=ep in the kernel's second form (capabilities(7)).
var capability = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func each(f func(string) error) program {
	return func(_ io.Writer, names []string) error {
		for _, name := range names {
			if err := f(name); err != nil {
				return err
			}
		}
		return nil
	}
}

func cat(out io.Writer, names []string) error {
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		out.Write(data)
	}
	return nil
}

func touch(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}

func chown(who string, names []string) error {
	uid, gid, _ := strings.Cut(who, ":")
	for _, name := range names {
		err := filepath.WalkDir(name, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, number(uid), number(gid))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func sock(name string) error {
	l, err := net.Listen("unix", name)
	if err != nil {
		return err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l.Close()
}

func ls(out io.Writer, names []string) error {
	for _, name := range names {
		entries, err := os.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Fprintln(out, e.Name())
		}
	}
	return nil
}

// world tells what the machine looks like from here.
func world(out io.Writer, _ []string) error {
	host, err := os.Hostname()
	old := syscall.Umask(0)
	fmt.Fprintf(out, "%s %d %03o\n", host, runtime.NumCPU(), old)
	return err
}

func env(out io.Writer, names []string) error {
	list := os.Environ()
	slices.Sort(list)
	for _, kv := range list {
		name, _, _ := strings.Cut(kv, "=")
		if len(names) == 0 || slices.Contains(names, name) {
			fmt.Fprintln(out, kv)
		}
	}
	return nil
}

func lines(out io.Writer, a []string) error {
	for i := range number(a[0]) {
		fmt.Fprintln(out, "line", i+1)
	}
	return nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sh:", err)
		os.Exit(2)
	}
	return n
}

func octal(s string) uint32 {
	n, _ := strconv.ParseUint(s, 8, 32)
	return uint32(n)
}
