package console

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/orchestrator"
)

// caller is who is at the other end of a connection, as the kernel says it.
type caller struct {
	origin orchestrator.Origin
	root   bool // who may speak for others, as sudo does; also where nobody knows names
}

const (
	maxName   = 200  // bytes of who somebody says to be
	maxReason = 1000 // bytes of why
)

// oneLine is text that others are shown, as it may stand in their terminals and logs: without control characters, and not too long.
func oneLine(text string, most int) string {
	text = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return ' '
		case unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == utf8.RuneError:
			return -1
		}
		return c
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.TrimSpace(text)
}

// callerKey is where a connection's caller stands in the context of its requests: net/http has no other place for it.
type callerKey struct{}

// called notes the caller of a new connection.
func (s *Server) called(ctx context.Context, conn net.Conn) context.Context {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	cred, err := credentials(c)
	if err != nil {
		s.Log.Warn("tell who is calling", "error", err)
		return ctx
	}
	who := caller{root: s.UserOf == nil, origin: orchestrator.Origin{User: fmt.Sprintf("uid %d", cred.Uid), PID: int(cred.Pid), Via: "unix:" + c.LocalAddr().String()}}
	if s.UserOf != nil {
		who.origin.User, who.root = s.UserOf(int(cred.Uid))
	}
	return context.WithValue(ctx, callerKey{}, who)
}

func credentials(c *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if failed != nil {
		return nil, failed
	}
	return cred, err
}

// by is who asks, and from where: what the request says, unless its sender is another user than that and not root. It is never
// empty: an operation has an author.
func by(r *http.Request, said string) (string, *orchestrator.Origin) {
	said = oneLine(said, maxName)
	who, ok := r.Context().Value(callerKey{}).(caller)
	switch {
	case !ok && said == "":
		return "somebody", nil
	case !ok:
		return said, nil
	case said == "":
		return who.origin.User, &who.origin
	}
	name, host, _ := strings.Cut(said, "@")
	if name != who.origin.User && !who.root {
		said = strings.TrimSuffix(who.origin.User+"@"+host, "@")
	}
	return said, &who.origin
}
