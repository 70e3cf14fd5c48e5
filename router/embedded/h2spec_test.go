package embedded

import (
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
	"github.com/bootandshoot/release/test/tools"
)

// departures are the cases of h2spec in which the router, or net/http's server, which speaks HTTP/2 to clients here, does
// otherwise, with why that does no harm.
func departures(secure bool) map[string]string {
	d := map[string]string{
		"http2/6.5.3: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                          "net/http ends a connection whose settings say one thing twice: no client does that to good ends",
		"http2/8.1.2.2: Sends a HEADERS frame that contains the connection-specific header field":                     "net/http answers 400 instead of resetting the stream, which RFC 9113, 8.1.1 allows",
		`http2/8.1.2.2: Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`: "the same",
	}
	if !secure {
		d["http2/3.5: Sends invalid connection preface"] = "HTTP/1.1 is spoken on the same port: what is no preface is answered 400 in it"
	}
	return d
}

// specReport is what h2spec writes: a suite for each section.
type specReport struct {
	Suites []struct {
		Name  string `xml:"name,attr"`
		ID    string `xml:"id,attr"`
		Cases []struct {
			Package string `xml:"package,attr"`
			Name    string `xml:"classname,attr"`
			Failure *struct {
				Text string `xml:",chardata"`
			} `xml:"failure"`
			Error *struct {
				Text string `xml:",chardata"`
			} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// The published conformance tests, with and without TLS.
func TestH2Spec(t *testing.T) {
	program := tools.Build(t, "h2spec", "github.com/summerwind/h2spec", "github.com/summerwind/h2spec/cmd/h2spec")
	bothWays(t, func(t *testing.T, secure bool) {
		node := routertest.StartNode(t, "a", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("hello ", 100)) })
		r := startRig(t, secure, node)
		defer r.settle()
		r.serve()
		host, port, _ := net.SplitHostPort(r.listen)
		out := filepath.Join(t.TempDir(), "report.xml")
		args := []string{"--host", host, "--port", port, "--strict", "--timeout", "5", "--junit-report", out}
		if secure {
			args = append(args, "--tls", "--insecure")
		}
		said, _ := exec.Command(program, args...).CombinedOutput() // fails when a case does
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		var report specReport
		if err := xml.Unmarshal(b, &report); err != nil {
			t.Fatal(err)
		}
		passed, known := 0, departures(secure)
		for _, suite := range report.Suites {
			for _, c := range suite.Cases {
				name := c.Package + ": " + c.Name
				bad := c.Failure != nil || c.Error != nil
				switch {
				case bad && known[name] == "":
					t.Errorf("%s fails: %+v %+v", name, c.Failure, c.Error)
				case !bad && known[name] != "":
					t.Errorf("%s passes: it is no departure any more", name)
				case !bad && c.Skipped == nil:
					passed++
				}
			}
		}
		t.Logf("%d cases passed", passed)
		if passed < 140 {
			t.Errorf("%d cases passed\n%s", passed, said)
		}
	})
}
