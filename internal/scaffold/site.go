package scaffold

import (
	"fmt"
	"path/filepath"
)

// site finds a static site: an index.html in the folder or in the usual folders of generators.
func site(dir string, static bool) (*finding, error) {
	for _, root := range []string{".", "dist", "public", "build", "_site", "www"} {
		if exists(dir, filepath.Join(root, "index.html")) {
			return siteIn(dir, root, static), nil
		}
	}
	return nil, nil
}

func siteIn(dir, root string, static bool) *finding {
	from := root
	if root != "." {
		from = "./" + root
	}
	f := &finding{kind: "static site", name: filepath.Base(dir), ignore: ownFiles()}
	if !static {
		f.port = 80
		f.recipe = fmt.Sprintf("base: {image: \"docker.io/library/nginx:stable-alpine\"}\ncopy: [{from: %s, to: /usr/share/nginx/html}]\nports: [80]\n", from)
		f.notes = []string{"the base image docker.io/library/nginx:stable-alpine needs a registry that answers; see recipe.yaml"}
		return f
	}
	f.port, f.server, f.health = 8080, true, "/"
	f.comment = "\n# " + ServerPath + " is a copy of the release program, which serves files on $PORT and no dot files. Another server:\n" +
		"#   base: {image: \"docker.io/library/nginx:stable-alpine\"}, to: /usr/share/nginx/html, ports: [80], no entrypoint"
	copies, program := "[{from: ., to: /srv/www}]", "/srv/www/"+ServerPath
	if root != "." {
		copies, program = fmt.Sprintf("[{from: ./%s, to: /server}, {from: %s, to: /srv/www}]", ServerPath, from), "/server"
	}
	f.recipe = fmt.Sprintf("base: scratch\ncopy: %s\nports: [8080]\nentrypoint: [%s, serve-files, /srv/www]\n", copies, program)
	return f
}
