package console

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/orchestrator"
)

// caller is who is at the other end of a connection, as the kernel says it.
type caller struct {
	origin orchestrator.Origin
	root   bool // who may speak for others, as sudo does; also where nobody knows names
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

// by is who asks, and from where: what the request says, unless its sender is another user than that and not root.
func by(r *http.Request, said string) (string, *orchestrator.Origin) {
	who, ok := r.Context().Value(callerKey{}).(caller)
	if !ok {
		return said, nil
	}
	name, host, _ := strings.Cut(said, "@")
	if name != who.origin.User && !who.root {
		said = strings.TrimSuffix(who.origin.User+"@"+host, "@")
	}
	return said, &who.origin
}
