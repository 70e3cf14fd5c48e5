package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
	"github.com/bootandshoot/release/test/load"
)

// webSocket is a client's side of one, so plain that every frame is seen.
type webSocket struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// openWebSocket begins one with the app's echo.
func openWebSocket(t *testing.T, in *harness.Installation) *webSocket {
	t.Helper()
	conn, err := net.Dial("tcp", in.Listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", in.Listen, in.Listen)
	ws := &webSocket{t: t, conn: conn, in: bufio.NewReader(conn)}
	res, err := http.ReadResponse(ws.in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %+v", err, res)
	}
	return ws
}

// echo sends text and wants it back.
func (w *webSocket) echo(text string) {
	w.t.Helper()
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // text, masked with zeros
	if _, err := w.conn.Write(frame); err != nil {
		w.t.Fatalf("send %q: %v", text, err)
	}
	if op, payload, err := w.frame(); err != nil || op != 1 || string(payload) != text {
		w.t.Fatalf("sent %q, got %d %q, %v", text, op, payload, err)
	}
}

// frame reads a short frame.
func (w *webSocket) frame() (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, head[1]&0x7f)
	_, err = io.ReadFull(w.in, payload)
	return head[0] & 0x0f, payload, err
}

// wantsGoodbye waits for the close frame with status 1001, going away, and the end behind it.
func (w *webSocket) wantsGoodbye() {
	w.t.Helper()
	op, payload, err := w.frame()
	if err != nil || op != 8 || len(payload) < 2 || binary.BigEndian.Uint16(payload) != 1001 {
		w.t.Fatalf("at its end it got frame %d %v, %v; want a close with 1001", op, payload, err)
	}
	if _, err := w.conn.Write([]byte{0x88, 0x82, 0, 0, 0, 0, payload[0], payload[1]}); err != nil {
		w.t.Logf("answer the close: %v", err) // the router may be quicker
	}
	if _, _, err := w.frame(); err == nil || errors.Is(err, net.ErrClosed) {
		w.t.Errorf("after the close: %v, want the end", err)
	}
}

func fleetOf(t *testing.T, in *harness.Installation, release string) *api.Fleet {
	t.Helper()
	for _, fl := range in.Status().Fleets {
		if fl.Release == release {
			return &fl
		}
	}
	return nil
}

// TestWebSocketsOverACutover: they stay on the old fleet, are counted, and end in order when their time is over. Only then the
// fleet is shot, and what that cost stands with the operation.
func TestWebSocketsOverACutover(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	const stay = 20 * time.Second
	in.WriteProject(quick, 2, "cutover: {keep_previous: 0s, drain: {timeout: 2s, long_connections: 20s, close_within: 1s}}\n")
	in.Operate("up", in.Bake("v1"))
	var sockets []*webSocket
	for range 3 {
		ws := openWebSocket(t, in)
		ws.echo("hello")
		sockets = append(sockets, ws)
	}
	v2 := in.Bake("v2")
	began := time.Now()
	op := in.Operate("up", v2)
	ended := time.Now()
	if got := get(t, in, ""); got != "v2" {
		t.Errorf("users are on %s", got)
	}
	var fl *api.Fleet
	in.Until("the old fleet to be out of the route, and looked at", stay, func() bool {
		fl = fleetOf(t, in, "r1")
		return fl != nil && fl.State == "shooting" && fl.InFlight > 0
	})
	if fl.Long != 3 || fl.InFlight != 3 {
		t.Errorf("the old fleet has %d long connections of %d requests", fl.Long, fl.InFlight)
	}
	countsFrom(t, "the time of long connections", fl.Deadline, stay, began, ended)
	for _, ws := range sockets {
		ws.echo("still here")
	}
	if out := in.Must("status").Stdout; !strings.Contains(out, "3 long connections") {
		t.Errorf("status says nothing of them:\n%s", out)
	}
	for _, ws := range sockets {
		ws.wantsGoodbye()
	}
	if early := time.Until(fl.Deadline); early > 0 {
		t.Errorf("they were closed %s before their time was over", early)
	}
	in.Until("the old fleet to be shot", time.Minute, func() bool { return fleetOf(t, in, "r1") == nil })
	chargedWith(t, in, op, 3)
	out := in.Must("events").Stdout
	for _, says := range []string{"which may stay for", "3 long connections are closed within 1 s", "r1: nothing is left", "3 long connections were cut"} {
		if !strings.Contains(out, says) {
			t.Errorf("the events say nothing of %q:\n%s", says, out)
		}
	}
}

// countsFrom checks that a time counts from a moment of the operation, which began and ended then.
func countsFrom(t *testing.T, what string, until time.Time, span time.Duration, began, ended time.Time) {
	t.Helper()
	if from := until.Add(-span); from.Before(began) || from.After(ended) {
		t.Errorf("%s ends at %s; want %s after a moment from %s to %s", what, until, span, began, ended)
	}
}

// chargedWith checks the ledger of an operation in the history.
func chargedWith(t *testing.T, in *harness.Installation, op api.OperationResult, cut uint64) {
	t.Helper()
	var h api.HistoryResult
	in.JSON(&h, "history")
	for _, o := range h.Operations {
		if o.ID == op.Operation {
			if o.Ledger.Cut != cut || o.Ledger.Failed != 0 {
				t.Errorf("%s cost %+v, want %d cut and nothing failed", o.ID, o.Ledger, cut)
			}
			return
		}
	}
	t.Errorf("%s is not in the history", op.Operation)
}

// TestDestroyWithWebSockets: nobody waits for them, and they end in order.
func TestDestroyWithWebSockets(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	in.WriteProject(quick, 1, "cutover: {drain: {close_within: 1s}}\n")
	in.Operate("up", in.Bake("v1"))
	ws := openWebSocket(t, in)
	ws.echo("hello")
	began := time.Now()
	done := begin(t, in, "destroy", "-y", "--json")
	ws.wantsGoodbye()
	if out := done.end(); out.Code != 0 || result(t, out).Ledger.Cut != 1 {
		t.Errorf("destroy: %+v", out)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("destroyed after %s", took)
	}
}

// TestStickyClients: a client with the cookie stays on its release for as long as its session may, new ones go to the other.
func TestStickyClients(t *testing.T) {
	t.Parallel()
	in := suite.New(t, quick)
	const stay = 20 * time.Second
	release := fmt.Sprintf("app: hello\nrecipe: recipe.yaml\nfleet: {driver: %s, size: 1, stop: {grace: 5s}}\nhealth: {http: {path: /healthz, port: 8080}}\n"+
		"route:\n  listen: %q\n  sticky: cookie\n  rules: [{header: {X-Team: beta}, to: candidate}]\n"+
		"cutover: {keep_previous: 0s, steps: [{percent: 50, hold: 1s}, {percent: 100}], drain: {timeout: 1s, sessions: 20s}}\n", quick, in.Listen)
	in.Write("release.yaml", release)
	in.Operate("up", in.Bake("v1"))
	client := browser(t)
	if got := client.visit(in, ""); got != "v1" {
		t.Fatalf("the first visit is answered by %s", got)
	}
	in.Operate("launch", in.Bake("v2"))
	if got := browser(t).visit(in, "beta"); got != "v2" {
		t.Errorf("the rule for the candidate is answered by %s", got)
	}
	ctx, stop := context.WithCancel(context.Background())
	passing := make(chan load.Report, 1)
	go func() { // somebody must come meanwhile, or the cutover has nothing to count
		report, err := load.Run(ctx, load.Options{URL: "http://" + in.Listen + "/", Rate: 20, Duration: 5 * time.Minute})
		if err != nil {
			t.Error(err)
		}
		passing <- report
	}()
	began := time.Now()
	op := in.Operate("cutover")
	ended := time.Now()
	stop()
	if report := <-passing; len(report.Failures) > 0 {
		t.Errorf("those who came meanwhile: %s", report)
	}
	if got := client.visit(in, ""); got != "v1" {
		t.Errorf("a client with a session is answered by %s", got)
	}
	if got := browser(t).visit(in, ""); got != "v2" {
		t.Errorf("a new client is answered by %s", got)
	}
	fl := fleetOf(t, in, "r1")
	if fl == nil || fl.Sessions.IsZero() || fl.State != "draining" || fl.Deadline != fl.Sessions {
		t.Fatalf("the old fleet is %+v", fl)
	}
	countsFrom(t, "the sessions' time", fl.Sessions, stay, began, ended)
	if len(op.Ledger.ByRelease) == 0 || op.Ledger.Failed != 0 {
		t.Errorf("the cutover cost %+v", op.Ledger)
	}
	in.Until("the session to be over", 2*time.Minute, func() bool { return client.visit(in, "") == "v2" })
	if early := time.Until(fl.Sessions); early > 0 {
		t.Errorf("the session ended %s before its time was over", early)
	}
	in.Until("the old fleet to be shot", time.Minute, func() bool { return fleetOf(t, in, "r1") == nil })
	secretStays(t, in)
}

// secretStays checks that nothing that people see has the key of the cookies: it is 64 digits.
func secretStays(t *testing.T, in *harness.Installation) {
	t.Helper()
	for _, args := range [][]string{{"config"}, {"status", "--json"}, {"events", "--json"}, {"history", "--json"}, {"router", "status", "--json"}} {
		text := in.Must(args...).Stdout
		for _, field := range []string{"sticky_key", `"key"`, `"secret"`} {
			if strings.Contains(text, field) {
				t.Errorf("release %s shows %s", strings.Join(args, " "), field)
			}
		}
	}
}

// visitor is a client with cookies, as a browser has them.
type visitor struct {
	t    *testing.T
	http http.Client
}

func browser(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, http: http.Client{Jar: jar, Timeout: 10 * time.Second}}
}

// visit tells which version answers a member of the team, or of none.
func (v *visitor) visit(in *harness.Installation, team string) string {
	v.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+in.Listen+"/", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	if team != "" {
		req.Header.Set("X-Team", team)
	}
	res, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Header.Get("X-Hello-Version")
}
