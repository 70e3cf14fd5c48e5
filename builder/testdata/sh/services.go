package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Programs that services are made of.
func init() {
	commands["serve"] = serve
	commands["sleep"] = func(_ io.Writer, a []string) error { d, err := time.ParseDuration(a[0]); time.Sleep(d); return err }
	commands["stubborn"] = stubborn
	commands["orphan"] = orphan
	commands["count"] = count
	commands["fail"] = func(_ io.Writer, a []string) error { return fmt.Errorf("%s", strings.Join(a, " ")) }
}

// serve answers with the identity and environment of the service at a port, after saying so.
func serve(out io.Writer, a []string) error {
	fmt.Fprintln(out, "listening on", a[0])
	return http.ListenAndServe("127.0.0.1:"+a[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/move":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/env":
			fmt.Fprintln(w, os.Getenv(r.URL.RawQuery))
		case "/cat":
			_ = cat(w, []string{r.URL.RawQuery})
		case "/exit":
			os.Exit(number(r.URL.RawQuery))
		default:
			dir, _ := os.Getwd()
			fmt.Fprintln(w, "hello from", os.Getuid(), os.Getgid(), "in", dir, "for", r.Host)
		}
	}))
}

// stubborn says what it is told and does not end.
func stubborn(out io.Writer, a []string) error {
	signals := make(chan os.Signal, 9)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	fmt.Fprintln(out, a[0], "up")
	for s := range signals {
		fmt.Fprintln(out, a[0], "got", s)
		if s == syscall.SIGTERM && a[1] == "soft" {
			return nil
		}
	}
	return nil
}

// orphan leaves a child behind that ends soon.
func orphan(io.Writer, []string) error {
	return exec.Command("/bin/sh", "-c", "sleep 100ms").Start()
}

// count appends a line to a file and says how many there are.
func count(out io.Writer, a []string) error {
	f, err := os.OpenFile(a[0], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	fmt.Fprintln(f, "x")
	f.Close()
	data, err := os.ReadFile(a[0])
	fmt.Fprintln(out, "count", strings.Count(string(data), "x"))
	return err
}
