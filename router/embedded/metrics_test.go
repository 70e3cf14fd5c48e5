package embedded

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/router/routertest"
)

// described are the metrics that docs/router.md has in its table, and their labels.
func described(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/router.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, found := strings.Cut(string(b), "\n| metric (each begins `release_router_`) | labels |")
	if !found {
		t.Fatal("docs/router.md has no table of metrics")
	}
	name, out := regexp.MustCompile("`([a-z_]+)`"), map[string][]string{}
	for line := range strings.Lines(rows[strings.Index(rows, "\n")+1:]) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		labels := strings.FieldsFunc(cells[2], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(labels)
		for _, m := range name.FindAllStringSubmatch(cells[1], -1) {
			out["release_router_"+m[1]] = labels
		}
	}
	return out
}

// exposed is what a scrape says of a metric.
type exposed struct {
	help, kind string
	labels     map[string]bool
}

// exposition reads Prometheus' text format.
func exposition(text string) map[string]*exposed {
	out := map[string]*exposed{}
	of := func(name string) *exposed {
		if out[name] == nil {
			out[name] = &exposed{labels: map[string]bool{}}
		}
		return out[name]
	}
	label := regexp.MustCompile(`[{,]([a-z_]+)="`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.SplitN(line, " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP ") && len(words) == 4:
			of(words[2]).help = words[3]
		case strings.HasPrefix(line, "# TYPE ") && len(words) == 4:
			of(words[2]).kind = words[3]
		case line != "":
			name := line[:strings.IndexAny(line, "{ ")]
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				if whole := strings.TrimSuffix(name, part); out[whole] != nil && out[whole].kind == "histogram" {
					name = whole
				}
			}
			for _, m := range label.FindAllStringSubmatch(line, -1) {
				of(name).labels[m[1]] = true
			}
		}
	}
	return out
}

// What /metrics has is what the docs list, all of it and no more, with help, and with the type that the name says. The control API gives
// the same.
func TestMetrics(t *testing.T) {
	scrape := routertest.FreeListen(t)
	t.Setenv("TEST_METRICS_LISTEN", scrape)
	c := startRouter(t, t.TempDir())
	node := routertest.StartNode(t, "a", nil)
	listen := routertest.FreeListen(t)
	mustApply(t, c, routertest.TableOf(3, routertest.RouteTo(listen, routertest.FleetOf(1, 10, node))))
	for range 5 {
		fetch(t, "GET", "http://"+listen+"/", "", nil)
	}
	fetch(t, "GET", "http://"+listen+"/", "", nil)
	_, _ = dialText(t, listen, "what?\r\n\r\n").Read(make([]byte, 1)) // rejected, which has no series before
	b, err := c.Metrics(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, scraped := fetch(t, "GET", "http://"+scrape+"/metrics", "", nil)
	of := `{fleet="shop/production/web/r1/1",release="r1",route="shop/production/web"}`
	for _, want := range []string{
		`release_router_requests_total{code="2xx",` + of[1:] + ` 6`, `release_router_node_failures_total{cause="reset",` + of[1:] + ` 0`,
		`release_router_request_duration_seconds_count` + of + ` 6`, `release_router_route_requests_total{route="shop/production/web"} 6`,
		`release_router_fleet_weight` + of + ` 10`, `release_router_fleet_nodes` + of + ` 1`, `release_router_table_epoch 1`, `release_router_table_seq 3`,
	} {
		if !strings.Contains(string(b), want+"\n") || !strings.Contains(scraped, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	docs := described(t)
	for from, text := range map[string]string{"the control API": string(b), "/metrics": scraped} {
		got := exposition(text)
		if list, want := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(docs)); !slices.Equal(list, want) {
			t.Errorf("%s has\n%s\ndocs/router.md has\n%s", from, strings.Join(list, "\n"), strings.Join(want, "\n"))
		}
		for name, m := range got {
			kind := "gauge"
			switch {
			case strings.HasSuffix(name, "_total"):
				kind = "counter"
			case strings.HasSuffix(name, "_seconds"):
				kind = "histogram"
			}
			if m.kind != kind || !strings.HasSuffix(m.help, ".") {
				t.Errorf("%s: %s has type %q, want %q, and help %q", from, name, m.kind, kind, m.help)
			}
			delete(m.labels, "le")
			if labels := slices.Sorted(maps.Keys(m.labels)); !slices.Equal(labels, docs[name]) {
				t.Errorf("%s: %s has labels %v, docs/router.md says %v", from, name, labels, docs[name])
			}
		}
	}
	if t.Failed() {
		t.Logf("%s", b)
	}
}
