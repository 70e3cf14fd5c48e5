package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// serveFilesVerb is the web server of static sites' images; release init copies this program into them.
func (c *cli) serveFilesVerb() *cobra.Command {
	return &cobra.Command{
		Use: "serve-files FOLDER", Short: "Serve a folder over HTTP on $PORT, without dot files", Hidden: true,
		Args: between(1, 1, "the folder"), Example: "  PORT=8080 release serve-files ./public",
		RunE: func(cmd *cobra.Command, args []string) error {
			port := c.getenv("PORT")
			if port == "" {
				port = "8080"
			}
			return serveFiles(cmd.Context(), args[0], ":"+port)
		},
	}
}

// finishTime bounds how long answers may go on after the stop signal.
const finishTime = 8 * time.Second

func serveFiles(ctx context.Context, dir, address string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve %s: %w", dir, err)
	}
	srv := &http.Server{Handler: http.FileServerFS(visible{os.DirFS(dir)}), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", dir, err)
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := srv.Shutdown(bounded); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("serve %s: %w", dir, err)
	}
	return nil
}

// visible hides dot files, but for .well-known.
type visible struct{ fs.FS }

// Open refuses names with a hidden part.
func (v visible) Open(name string) (fs.File, error) {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != "." && part != ".well-known" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	f, err := v.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return unlisted{f}, nil
}

// unlisted is a file whose folder cannot be listed.
type unlisted struct{ fs.File }

// Seek lets the file server answer ranges.
func (u unlisted) Seek(offset int64, whence int) (int64, error) {
	s, ok := u.File.(interface {
		Seek(offset int64, whence int) (int64, error)
	})
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return s.Seek(offset, whence)
}
