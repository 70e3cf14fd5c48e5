package machinechannel

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
)

// Machine is what a control line is served for.
type Machine interface {
	// CopyOut writes the file or folder at a path as a tar stream (package treecopy). No such path is fs.ErrNotExist, and nothing is written then.
	CopyOut(path string, to io.Writer) error
	// Stop asks the services to end by a signal, a name without SIG.
	Stop(signal string) error
	// Start runs a command beside the services, in a session of its own, with env over theirs. The files are its standard input, output and error
	// output; terminal says that they are a terminal, which it shall control.
	Start(args, env []string, files [3]*os.File, terminal bool) (Process, error)
}

// Process is a command that runs.
type Process interface {
	Wait() Exit // once
	Kill()      // its process group, at once
}

// Serve answers on a control line until it is closed or the context ends.
func Serve(ctx context.Context, port io.ReadWriter, m Machine) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("serve the control line: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return fmt.Errorf("serve the control line: %w", err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	return accept(ctx, port, func(conn net.Conn) { talk(ctx, conn, config, m) })
}

// talk is one connection.
func talk(ctx context.Context, conn net.Conn, config *ssh.ServerConfig, m Machine) {
	defer conn.Close()
	c, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for r := range requests {
			ok := r.Type == stopRequest && m.Stop(string(r.Payload)) == nil
			if r.WantReply {
				_ = r.Reply(ok, nil)
			}
		}
	}()
	for ch := range channels {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "only commands are run here")
			continue
		}
		if channel, asked, err := ch.Accept(); err == nil {
			s := &session{channel: channel, machine: m}
			go s.serve(ctx, asked)
		}
	}
	_ = c.Close()
}

// parse reads the payload of a request.
func parse[T any](payload []byte) (v T, ok bool) { return v, ssh.Unmarshal(payload, &v) == nil }

func commandLine(text string) ([]string, bool) {
	var args []string
	err := json.Unmarshal([]byte(text), &args)
	return args, err == nil && len(args) > 0
}
