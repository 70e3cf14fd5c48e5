package instance

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsComeBack(t *testing.T) {
	want := Settings{Schema: schema, Hostname: "shop-1", Environment: map[string]string{"A": "b\nc=d"},
		Files: []File{{Path: "/etc/key", Data: []byte{0, 1, 255}, Mode: 0o640, Owner: "1000:app"}}, AccessKeys: []string{"ssh-ed25519 AAAA me"}}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(data)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestSettingsThatAreNone(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `{"schema":2}`, `{"schema":1,"hostname":"a.b"}`, `{"schema":1,"hostname":"-a"}`, `{"schema":1,"hostname":"` + strings.Repeat("a", 64) + `"}`,
		`{"schema":1,"environment":{"A=B":"c"}}`, `{"schema":1,"environment":{"":"c"}}`, `{"schema":1,"environment":{"A":"\u0000"}}`,
		`{"schema":1,"files":[{"path":"etc/x"}]}`, `{"schema":1,"files":[{"path":"/a/../b"}]}`, `{"schema":1,"files":[{"path":"/"}]}`,
		`{"schema":1,"files":[{"path":"/a","mode":65536}]}`, `{"schema":1,"access_keys":["a\nb"]}`, `{"schema":1,"other":1}`,
	} {
		if s, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is taken for %+v", text, s)
		}
	}
	secret := `{"schema":1,"environment":{"A":"hunter2\u0000"}}`
	if _, err := Parse([]byte(secret)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error tells the value: %v", err)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"schema":1,"hostname":"a","environment":{"A":"b"},"files":[{"path":"/a","data":"AA=="}],"access_keys":["k"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		if _, err := s.Encode(); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
