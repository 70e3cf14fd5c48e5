package scaffold

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// nodePackage finds a package.json.
func nodePackage(dir string) (*finding, error) {
	b, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p struct {
		Name    string            `json:"name"`
		Main    string            `json:"main"`
		Scripts map[string]string `json:"scripts"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("read package.json: %w", err)
	}
	install := "npm install --omit=dev"
	if exists(dir, "package-lock.json") {
		install = "npm ci --omit=dev"
	}
	entrypoint := []string{"npm", "start"}
	switch {
	case p.Scripts["start"] != "":
	case p.Main != "":
		entrypoint = []string{"node", p.Main}
	default:
		entrypoint = []string{"node", "index.js"}
	}
	return &finding{
		kind: "package.json", name: filepath.Base(p.Name), port: 3000,
		recipe: fmt.Sprintf(`# The base is pulled from a registry once and pinned in recipe.yaml.lock. Another source: {image: ./node.tar}, a docker
# archive or OCI layout in this project.
base: {image: "docker.io/library/node:22-slim"}
copy: [{from: ., to: /app}]
run:
  - {cmd: "cd /app && %s", network: true}   # network: true marks the image as not reproducible
env: {NODE_ENV: production}
workdir: /app
user: node
ports: [3000]                  # the app must listen on $PORT, which says the same number
entrypoint: %s
`, install, list(entrypoint)),
		ignore: append(ownFiles(), "node_modules/"),
		notes:  []string{"the base image docker.io/library/node:22-slim needs a registry that answers; see recipe.yaml"},
	}, nil
}
