package fleet

import (
	"fmt"
	"testing"
)

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/var/cache", "/var/cache", true},
		{"/var/cache", "/var/cache/app/x", true},
		{"/var/cache", "/var/cached", false},
		{"/var/cache/**", "/var/cache", true},
		{"/var/cache/**", "/var/cache/a/b", true},
		{"/var/*/log", "/var/app/log/today", true},
		{"/var/*/log", "/var/log", false},
		{"/var/*/log", "/var/a/b/log", false},
		{"/srv/**/*.pid", "/srv/a.pid", true},
		{"/srv/**/*.pid", "/srv/a/b/c.pid", true},
		{"/srv/**/*.pid", "/srv/a/b/c.pids", false},
		{"/**", "/anything", true},
		{"/log/*.log", "/log", false},
		{"/a[", "/a[", false},
	} {
		if got := Allowed([]string{"/never", c.pattern}, c.path); got != c.want {
			t.Errorf("%s allows %s: %v, want %v", c.pattern, c.path, got, c.want)
		}
	}
}

func TestFileAllowed(t *testing.T) {
	spec := DriftSpec{Spec: Spec{Volumes: []VolumeMount{{Path: "/var/lib/app"}}}, Allow: []string{"/opt/*/cache"}}
	for path, want := range map[string]bool{
		"/tmp": true, "/tmp/a/b": true, "/tmpfile": false, "/run/app.pid": true, "/etc/hosts": true, "/etc/hosts.bak": false,
		"/var/lib/app": true, "/var/lib/app/db": true, "/var/lib/apps": false, "/opt/x/cache/y": true, "/opt/x": false,
	} {
		if got := spec.FileAllowed(path); got != want {
			t.Errorf("%s may differ: %v, want %v", path, got, want)
		}
	}
	if spec.ProcessAllowed("/tmp/tool") || spec.ProcessAllowed("/var/lib/app/tool") || !spec.ProcessAllowed("/opt/x/cache/tool") {
		t.Error("a program may run from where the patterns say, and nowhere else")
	}
}

func TestFoundIsOrderedAndBounded(t *testing.T) {
	var changes []Change
	for i := range 9 {
		changes = append(changes, Change{What: ChangedFile, How: WasAdded, Path: fmt.Sprintf("/f%d", 9-i)})
	}
	changes = append(changes, Change{What: ChangedSetting, How: WasChanged, Path: "memory"}, Change{What: ChangedProcess, How: WasAdded, Path: "/z"})
	got := DriftSpec{Limit: 3}.Found(changes)
	if got.Total != 11 || len(got.Changes) != 3 || got.Changes[0].Path != "/z" || got.Changes[1].Path != "memory" || got.Changes[2].Path != "/f1" {
		t.Errorf("found %+v", got)
	}
}
