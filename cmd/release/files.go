package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
)

// hookFiles brings the files of the app's hooks to the agent, as far as it lacks them, and lists them for the request.
func (c *cli) hookFiles(ctx context.Context, app *config.App) ([]api.File, error) {
	names, err := app.HookFiles()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	client, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	var files []api.File
	content := map[string][]byte{}
	for _, name := range names {
		path := filepath.Join(app.Dir(), filepath.FromSlash(name))
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read a hook's file: %w", err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a hook's file: %w", err)
		}
		sum := sha256.Sum256(data)
		f := api.File{Path: name, Digest: hex.EncodeToString(sum[:]), Executable: info.Mode()&0o111 != 0}
		files, content[f.Digest] = append(files, f), data
	}
	var digests []string
	for d := range content {
		digests = append(digests, d)
	}
	slices.Sort(digests)
	missing, err := client.MissingFiles(ctx, digests)
	if err != nil {
		return nil, err
	}
	for _, d := range missing {
		if err := client.PutFile(ctx, d, int64(len(content[d])), bytes.NewReader(content[d])); err != nil {
			return nil, err
		}
	}
	return files, nil
}
