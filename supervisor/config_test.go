package supervisor

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEncodeAndParse(t *testing.T) {
	c := Config{Prefix: true, Services: []Service{
		{Name: "web", Cmd: []string{"/web", "-v"}, Restart: Always, User: "www-data", Env: []string{"A=b"}, Dir: "/srv", After: []string{"db"}},
		{Name: "db", Cmd: []string{"db"}, Stop: Stop{Signal: "INT", Grace: Duration(90 * time.Second)}},
	}}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "schema": 1,
  "prefix": true,
  "services": [
    {
      "name": "db",
      "cmd": [
        "db"
      ],
      "stop": {
        "signal": "INT",
        "grace": "1m30s"
      }
    },
`
	if !strings.HasPrefix(string(data), want) {
		t.Errorf("got\n%s", data)
	}
	back, err := Parse(data)
	if err != nil || !reflect.DeepEqual(back.Services[1], c.Services[0]) || !reflect.DeepEqual(back.Services[0], c.Services[1]) {
		t.Errorf("%+v %v", back, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{`:            "unexpected EOF",
		`{"schema":2}`: "schema 2 is not known",
		`{"schema":1}`: "there are none",
		`{"schema":1,"services":[{"name":"a","cmd":["x"]}],"more":1}`:                                             `unknown field "more"`,
		`{"schema":1,"services":[{"name":"a"}]}`:                                                                  "a has no command",
		`{"schema":1,"services":[{"cmd":["x"]}]}`:                                                                 `name "" is empty`,
		`{"schema":1,"services":[{"name":"a","cmd":["x"]},{"name":"a","cmd":["x"]}]}`:                             "given twice",
		`{"schema":1,"services":[{"name":"a","cmd":["x"],"restart":"yes"}]}`:                                      `restart "yes"`,
		`{"schema":1,"services":[{"name":"a","cmd":["x"],"after":["b"]}]}`:                                        "a is after b, which does not exist",
		`{"schema":1,"services":[{"name":"a","cmd":["x"],"after":["b"]},{"name":"b","cmd":["x"],"after":["a"]}]}`: "a is after itself",
		`{"schema":1,"services":[{"name":"a","cmd":["x"],"stop":{"grace":"-1s"}}]}`:                               "negative",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

const passwd = "root:x:0:0:root:/root:/bin/sh\n# rubbish\nshort:x:1\nwww-data:x:33:34:www:/var/www:/bin/false\n42:x:7:7::/seven:\nbad:x:nine:1::/:\n"
const group = "root:x:0:\nwww-data:x:34:\nssl:x:50:nobody,www-data\nadm:x:51:www-data\n"

func TestFindAccount(t *testing.T) {
	for text, want := range map[string]string{
		"root":         "{0 0 [] /root}",
		"www-data":     "{33 34 [50 51] /var/www}",
		"33":           "{33 34 [50 51] /var/www}",
		"33:50":        "{33 50 [] /var/www}",
		"www-data:ssl": "{33 50 [] /var/www}",
		"42":           "{7 7 [] /seven}", // a name first, then a number
		"1000":         "{1000 0 [] /}",
		"1000:1000":    "{1000 1000 [] /}",
		"bad":          "user bad is not in the image's /etc/passwd",
		"short":        "user short is not in the image's /etc/passwd",
		"root:nobody":  "group nobody is not in the image's /etc/group",
		"-1":           "user -1 is not in the image's /etc/passwd",
	} {
		a, err := FindAccount(text, passwd, group)
		got := fmt.Sprint(a)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schema":1,"services":[{"name":"a","cmd":["x"],"after":["b"],"stop":{"grace":"1s"}},{"name":"b","cmd":["y"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatalf("%s cannot be written: %v", data, err)
		}
		if _, err := Parse(again); err != nil {
			t.Errorf("%s cannot be read again: %v", again, err)
		}
	})
}

func FuzzFindAccount(f *testing.F) {
	f.Add("www-data", passwd, group)
	f.Add("33:ssl", passwd, group)
	f.Fuzz(func(_ *testing.T, text, passwd, group string) { _, _ = FindAccount(text, passwd, group) })
}
