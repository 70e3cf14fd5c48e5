// Probe is the program of the test images: without arguments a server on $PORT, else what the first argument says.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	verb, arg := "serve", ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	if len(os.Args) > 2 {
		arg = os.Args[2]
	}
	number, _ := strconv.Atoi(arg) // 0 where it is none
	switch verb {
	case "serve":
		serve()
	case "exit":
		os.Exit(number)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		serve()
	case "eat":
		eat(number)
	case "talk":
		fmt.Println("one")
		fmt.Fprintln(os.Stderr, "two")
		fmt.Println(strings.Repeat("x", 40_000) + "end")
		fmt.Print("no newline")
	case "count":
		for i := 0; ; i++ {
			fmt.Println("line", i)
			time.Sleep(20 * time.Millisecond)
		}
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "env":
		fmt.Print(os.Getenv(arg))
		fmt.Fprint(os.Stderr, "said on stderr")
	case "sizes":
		sizes()
	case "hang":
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	}
}

func serve() {
	fmt.Println("listening")
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { name, _ := os.Hostname(); fmt.Fprint(w, name) })
	http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.URL.RawQuery)) })
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT)
	if len(os.Args) < 2 {
		signal.Notify(stop, syscall.SIGTERM)
	}
	go func() {
		s := <-stop
		fmt.Println("got", s)
		os.Exit(7)
	}()
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+os.Getenv("PORT"), nil))
	os.Exit(1)
}

// eat takes so many MiB of memory and touches them.
func eat(mib int) {
	var kept [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	fmt.Println("ate", len(kept))
}

// sizes prints the terminal's size as often as it changes, until it is 1 column wide.
func sizes() {
	for last := ""; ; time.Sleep(5 * time.Millisecond) {
		w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if s := fmt.Sprintf("%dx%d", w.Col, w.Row); s != last {
			fmt.Println(s)
			last = s
		}
		if w.Col == 1 {
			return
		}
	}
}
