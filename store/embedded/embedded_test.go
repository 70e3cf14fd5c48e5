package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/storetest"
)

const crashPath = "RELEASE_TEST_CRASH_STORE"

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, filepath.Join(t.TempDir(), "state", "store.db")) })
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestReopenKeepsEntriesVersionsAndEpochs(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	var last uint64
	for _, w := range []store.Write{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}, {Key: "b", Any: true}} {
		v, err := s.Commit(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		last = v
	}
	first, err := s.Acquire(ctx, "leader", "one", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := s.Watch(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-first.Lost()
	for range changes { // ends, since Close ends watches
	}

	s = open(t, path)
	if e, err := s.Get(ctx, "a"); err != nil || string(e.Value) != "1" {
		t.Fatalf("after reopening: %v %v", e, err)
	}
	second, err := s.Acquire(ctx, "leader", "two", time.Minute)
	if err != nil || second.Epoch() <= first.Epoch() {
		t.Fatalf("epoch %v (%v) after %d", second, err, first.Epoch())
	}
	if v, err := s.Commit(ctx, store.Write{Key: "c", Value: []byte("3")}); err != nil || v <= last {
		t.Fatalf("version %d (%v) after %d", v, err, last)
	}
}

func TestCloseEndsWaiting(t *testing.T) {
	ctx := t.Context()
	s := open(t, filepath.Join(t.TempDir(), "store.db"))
	if _, err := s.Acquire(ctx, "leader", "one", time.Minute); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Acquire(ctx, "leader", "two", time.Minute)
		done <- err
	}()
	_ = s.Close()
	if err := <-done; !errors.Is(err, store.ErrLeaseLost) {
		t.Fatalf("waiting for a right of a closed store: %v", err)
	}
	if _, err := s.Get(ctx, "a"); err == nil {
		t.Fatal("a closed store answers")
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	open(t, path)
	_, err := Open(path)
	if !fault.Is(err, fault.Busy) {
		t.Fatalf("open twice: %v, want fault.Busy", err)
	}
	if !strings.Contains(err.Error(), "another agent holds it") {
		t.Errorf("message %q", err)
	}
	if holder := lockHolder(path); holder != "" && !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("message %q does not name this process", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte("2")) })
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if _, err := Open(path); !fault.Is(err, fault.Unsupported) {
		t.Fatalf("open of a newer schema: %v", err)
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store\n", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("open of a damaged file: %v", err)
	}
}

// A file that was cut short, or whose pages hold something else, is an error and not the end of the process.
func TestTornFile(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		if _, err := s.Commit(t.Context(), store.Write{Key: fmt.Sprintf("k/%03d", n), Value: bytes.Repeat([]byte{1}, 5000), Any: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	found := 0
	for at := 2 * page; at < len(data); at += 7 * page {
		if readsAll(t, data[:at]) != nil {
			found++
		}
		torn := bytes.Clone(data)
		for i := at; i < min(at+page, len(data)); i++ {
			torn[i] = 0xa5
		}
		_ = readsAll(t, torn) // it may have hit a free page
	}
	if found == 0 {
		t.Error("no cut was noticed")
	}
}

// readsAll opens a store with that content and reads and writes it.
func readsAll(t *testing.T, data []byte) error {
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.List(t.Context(), "k/")
	_, writeErr := s.Commit(t.Context(), store.Write{Key: "k/new", Value: []byte("x"), Any: true})
	return errors.Join(err, writeErr)
}

// writeForever commits pairs of equal numbers and says each when it is durable.
func writeForever(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for n := 1; ; n++ {
		value := []byte(strconv.Itoa(n))
		version, err := s.Commit(context.Background(),
			store.Write{Key: "left", Value: value, Any: true}, store.Write{Key: "right", Value: value, Any: true})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(n, version)
	}
}

func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var lastVersion uint64
	for round := range 5 {
		said, version := runAndKill(t, path, 5+round*7)
		s := open(t, path)
		left, errLeft := s.Get(t.Context(), "left")
		right, errRight := s.Get(t.Context(), "right")
		if errLeft != nil || errRight != nil {
			t.Fatalf("after the kill: %v, %v", errLeft, errRight)
		}
		have, _ := strconv.Atoi(string(left.Value))
		if string(left.Value) != string(right.Value) || have < said || have > said+1 {
			t.Fatalf("after the kill: left %s, right %s; durable was %d", left.Value, right.Value, said)
		}
		if version <= lastVersion {
			t.Fatalf("version %d after %d", version, lastVersion)
		}
		lastVersion = left.Version
		_ = s.Close()
	}
}

// runAndKill lets a process write, kills it after it said so many commits, and returns the last one it said.
func runAndKill(t *testing.T, path string, commits int) (said int, version uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashPath+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range commits {
		if !lines.Scan() {
			t.Fatal("the writer ended early")
		}
		parse(t, lines.Text(), &said, &version)
	}
	_ = cmd.Process.Kill()
	for lines.Scan() { // what it said before it died
		parse(t, lines.Text(), &said, &version)
	}
	_ = cmd.Wait()
	return said, version
}

func parse(t *testing.T, line string, said *int, version *uint64) {
	t.Helper()
	if _, err := fmt.Sscan(line, said, version); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
}
