package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

// server speaks the API as Prometheus documents it (https://prometheus.io/docs/prometheus/latest/querying/api/), and answers every
// query with one text.
func server(t *testing.T, status int, body string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/prom/api/v1/query" || r.FormValue("query") != "up" || r.FormValue("time") != "" || r.FormValue("timeout") != "1.5" {
			t.Errorf("asked %s %v", r.URL, r.Form)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func success(kind, result string) string {
	return fmt.Sprintf(`{"status":"success","data":{"resultType":%q,"result":%s}}`, kind, result)
}

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   []Sample
		says   string
	}{
		"series": {200, success("vector", `[{"metric":{"job":"a"},"value":[1,"0.25"]},{"metric":{},"value":[1,"+Inf"]},{"metric":{"job":"c"},"value":[1,"NaN"]}]`),
			[]Sample{{`{job="a"}`, 0.25}, {`{}`, inf()}}, ""},
		"number":     {200, success("scalar", `[1,"3"]`), []Sample{{"", 3}}, ""},
		"no series":  {200, success("vector", `[]`), nil, "the query has no data"},
		"NaN alone":  {200, success("vector", `[{"metric":{},"value":[1,"NaN"]}]`), nil, "the query has no data"},
		"a range":    {200, success("matrix", `[{"metric":{},"values":[[1,"1"]]}]`), nil, "the query gives a matrix, not numbers of one moment"},
		"a text":     {200, success("string", `[1,"x"]`), nil, "the query gives a string"},
		"a mistake":  {400, `{"status":"error","errorType":"bad_data","error":"parse error: unexpected end\nof input"}`, nil, "parse error: unexpected end of input"},
		"overloaded": {503, `{"status":"error","errorType":"timeout","error":"query timed out"}`, nil, "query timed out"},
		"not it":     {404, "<html>" + strings.Repeat("x", 10_000), nil, "…"},
		"not JSON":   {200, "hello", nil, "invalid character"},
		"forbidden":  {403, "go away", nil, "go away"},
		"redirected": {302, "", nil, "302"},
		"endless":    {200, success("vector", `[{"metric":{"a":"`+strings.Repeat("a", maxAnswer)+`"},"value":[1,"1"]}]`), nil, "more than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, c.status, c.body)
			got, err := Ask(t.Context(), Query{URL: s.URL + "/prom/", Expr: "up", Timeout: 1500 * time.Millisecond})
			if !reflect.DeepEqual(got, c.want) || (err == nil) != (c.says == "") {
				t.Fatalf("%v, %v; want %v and %q", got, err, c.want, c.says)
			}
			if err != nil && (!strings.Contains(err.Error(), c.says) || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n")) {
				t.Errorf("it says %q", err)
			}
		})
	}
}

func inf() float64 { var zero float64; return 1 / zero }

func TestAskSaysWhoAsks(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hunter2" || r.Header.Get("X-Scope-OrgID") != "shop" {
			t.Errorf("headers are %v", r.Header)
		}
		fmt.Fprint(w, success("scalar", `[1,"3"]`))
	}))
	defer s.Close()
	if _, err := Ask(t.Context(), Query{URL: s.URL, Expr: "up", Token: "hunter2", Headers: map[string]string{"X-Scope-OrgID": "shop"}}); err != nil {
		t.Error(err)
	}
}

// A token is not carried to where a server redirects to.
func TestAskFollowsNobody(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked with %v", r.Header) }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	if _, err := Ask(t.Context(), Query{URL: s.URL, Expr: "up", Token: "hunter2"}); err == nil {
		t.Error("a redirection is no error")
	}
}

func TestAskIsBoundedInTime(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer s.Close()
	defer close(hang)
	_, err := Ask(t.Context(), Query{URL: s.URL, Expr: "up", Timeout: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("hangs: %v", err)
	}
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	if _, err := Ask(t.Context(), Query{URL: dead.URL, Expr: "up"}); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody there: %v", err)
	}
}

// A secret that a server repeats is hidden whole, wherever the text is cut.
func TestAskHidesSecrets(t *testing.T) {
	const token = "hunter2-hunter2-hunter2"
	for at := maxReason - len(token) - 40; at <= maxReason; at++ {
		for _, status := range []int{http.StatusForbidden, http.StatusOK} {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				fmt.Fprintf(w, `{"status":"error","error":"%s%s"}`, strings.Repeat("x", at), token)
			}))
			_, err := Ask(t.Context(), Query{URL: s.URL, Expr: "up", Token: token,
				Mask: func(text string) string { return strings.ReplaceAll(text, token, "***") }})
			s.Close()
			if err == nil || strings.Contains(err.Error(), token[:4]) {
				t.Fatalf("%d at %d: %v", status, at, err)
			}
		}
	}
}
