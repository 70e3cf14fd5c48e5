// Testnode is the server that the conformance suite of fleet drivers boots. Without arguments it listens on $PORT:
//
//	/                 hello
//	/healthz          ok
//	/env?name=N       the value of an environment variable
//	/print?text=T&to=err  prints a line
//	/write?path=P&text=T, /read?path=P  a file of its root; folders are made
//	/chmod?path=P, /remove?path=P  makes a file 0700; removes it
//	/spawn?path=P     copies this program there and runs it
//	/eat?mb=N         takes memory and keeps it
//	/fetch?url=U      asks another server and passes its answer on
//	/stubborn         ignores SIGTERM from now on
//	/exit?code=N      ends
//
// SIGTERM and SIGUSR1 end it with 0. With arguments it is a small tool for exec and jobs: echo, complain, cat, env,
// exit, sleep, tty, write PATH TEXT, read PATH.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 {
		os.Exit(tool(os.Args[1], os.Args[2:]))
	}
	n := &node{}
	go n.stopOn(syscall.SIGTERM, syscall.SIGUSR1)
	port := os.Getenv("PORT")
	if port == "" {
		fmt.Println("no port, only waiting")
		select {}
	}
	fmt.Println("listening on", port)
	err := http.ListenAndServe(":"+port, n.handler())
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

type node struct {
	mu       sync.Mutex
	stubborn bool
	eaten    [][]byte
}

func (n *node) stopOn(signals ...os.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, signals...)
	for s := range c {
		n.mu.Lock()
		stay := n.stubborn && s == syscall.SIGTERM
		n.mu.Unlock()
		if !stay {
			fmt.Println("stopping")
			os.Exit(0)
		}
	}
}

func (n *node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.FormValue("name"))) })
	mux.HandleFunc("/print", printLine)
	mux.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, write(r.FormValue("path"), []byte(r.FormValue("text")), 0o644))
	})
	mux.HandleFunc("/chmod", func(w http.ResponseWriter, r *http.Request) { refuse(w, os.Chmod(r.FormValue("path"), 0o700)) })
	mux.HandleFunc("/remove", func(w http.ResponseWriter, r *http.Request) { refuse(w, os.Remove(r.FormValue("path"))) })
	mux.HandleFunc("/spawn", func(w http.ResponseWriter, r *http.Request) { refuse(w, spawn(r.FormValue("path"))) })
	mux.HandleFunc("/link", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, os.Symlink(r.FormValue("to"), r.FormValue("path")))
	})
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(r.FormValue("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(data)
	})
	mux.HandleFunc("/eat", n.eat)
	mux.HandleFunc("/fetch", fetch)
	mux.HandleFunc("/stubborn", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.stubborn = true
	})
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	return mux
}

func refuse(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func write(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}

func spawn(path string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := write(path, self, 0o755); err != nil {
		return err
	}
	return exec.Command(path, "sleep").Start()
}

func printLine(w http.ResponseWriter, r *http.Request) {
	to := os.Stdout
	if r.FormValue("to") == "err" {
		to = os.Stderr
	}
	fmt.Fprintln(to, r.FormValue("text"))
}

func fetch(w http.ResponseWriter, r *http.Request) {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(r.FormValue("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	_, _ = io.Copy(w, resp.Body)
}

func (n *node) eat(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	mb, _ := strconv.Atoi(r.FormValue("mb"))
	for range mb {
		piece := make([]byte, 1<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1
		}
		n.eaten = append(n.eaten, piece)
	}
}

func tool(name string, args []string) int {
	switch name {
	case "echo":
		fmt.Println(strings.Join(args, " "))
	case "complain":
		fmt.Fprintln(os.Stderr, strings.Join(args, " "))
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			return 1
		}
	case "env":
		fmt.Println(os.Getenv(args[0]))
	case "exit":
		code, _ := strconv.Atoi(args[0])
		return code
	case "sleep":
		time.Sleep(time.Hour)
	case "write":
		if err := write(args[0], []byte(args[1]), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "read":
		data, err := os.ReadFile(args[0])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		_, _ = os.Stdout.Write(data)
	case "tty":
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		for i := 0; err == nil && size.Col == 0 && i < 500; i++ { // engines before Docker 23.0 set the size just after the start
			time.Sleep(10 * time.Millisecond)
			size, err = unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		}
		if err != nil {
			fmt.Println("no terminal")
			return 1
		}
		fmt.Printf("terminal %dx%d\n", size.Col, size.Row)
	default:
		return 2
	}
	return 0
}
