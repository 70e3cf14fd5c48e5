package config

import (
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// AbortOn is what a new release must not do in steps that are held. A zero limit is not set.
type AbortOn struct {
	ErrorRate   Percent  `yaml:"error_rate,omitempty" json:"error_rate,omitempty" doc:"Highest share of the new release's requests that may fail, e.g. 1%."`
	P99OverOld  Ratio    `yaml:"p99_over_old,omitempty" json:"p99_over_old,omitempty" doc:"Highest 99th percentile of the new release's latency over the old one's, e.g. 1.5x."`
	MinRequests int      `yaml:"min_requests" json:"min_requests" doc:"Nothing is judged before the new release had so many requests in the step." default:"100" minimum:"1"`
	Prometheus  []Metric `yaml:"prometheus,omitempty" json:"prometheus,omitempty" doc:"Queries that a Prometheus server is asked while a step is held, and how far their answers may go."`
	Command     []Judge  `yaml:"command,omitempty" json:"command,omitempty" doc:"Commands that the agent runs while a step is held: they end with 0 as long as the release is good."`
}

// Metric is a query and the limit of its answer: one of Above and Below. Of several series the worst counts.
type Metric struct {
	Query   string            `yaml:"query,required" json:"query" doc:"PromQL. $RELEASE, $FROM, $APP, $ENV, $PERCENT and $SECONDS (since the step began, at least 1) stand for what they say; ${RELEASE} too."`
	Above   *float64          `yaml:"above,omitempty" json:"above,omitempty" doc:"Larger values are bad. A metric has above or below."`
	Below   *float64          `yaml:"below,omitempty" json:"below,omitempty" doc:"Smaller values are bad."`
	For     Duration          `yaml:"for,omitempty" json:"for,omitempty" doc:"How long all answers must be bad to abort. Default: the first bad one does."`
	Every   Duration          `yaml:"every" json:"every" doc:"Time from an answer to the next question." default:"10s"`
	Timeout Duration          `yaml:"timeout" json:"timeout" doc:"How long an answer may take." default:"5s"`
	URL     string            `yaml:"url,omitempty" json:"url,omitempty" doc:"Address of the server, without /api/v1. Default: prometheus.url of agent.yaml."`
	Token   string            `yaml:"token,omitempty" json:"token,omitempty" doc:"Bearer token for url, which the agent reads at each question: file:/path or env:NAME." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty" doc:"Headers for url, whose values the agent reads likewise." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
}

// Judge is a command that judges the release. In the file it may be the command alone.
type Judge struct {
	Cmd          Command           `yaml:"cmd,required,flow" json:"cmd" doc:"Like that of a hook. 0: the release is good. 75, 126 and 127, the end by a signal and no end in time: it cannot tell. Everything else: the release is bad."`
	Every        Duration          `yaml:"every" json:"every" doc:"Time from its end to its next run." default:"30s"`
	Timeout      Duration          `yaml:"timeout" json:"timeout" doc:"A command that takes longer is killed with all that it started, and has told nothing." default:"10s"`
	AllowFailure bool              `yaml:"allow_failure,omitempty" json:"allow_failure,omitempty" doc:"What it says is told and decides nothing." default:"false"`
	Files        []string          `yaml:"files,omitempty,flow" json:"files,omitempty" doc:"Files and folders that the command needs, as for hooks."`
	Secrets      map[string]string `yaml:"secrets,omitempty" json:"secrets,omitempty" doc:"Environment variables of the command whose values the agent reads at each run: file:/path or env:NAME." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
}

// judgeKeys is the form with keys.
type judgeKeys Judge

// UnmarshalNode takes both forms.
func (j *Judge) UnmarshalNode(n *strictyaml.Node, path string) error {
	return commandOrKeys(n, path, &j.Cmd, (*judgeKeys)(j))
}

// JSONSchema of both forms.
func (*Judge) JSONSchema() *jsonschema.Schema { return commandOr[judgeKeys]() }

// Hook is the command as one that is run at a point of an operation.
func (j *Judge) Hook() Hook {
	return Hook{Cmd: j.Cmd, Timeout: j.Timeout, AllowFailure: j.AllowFailure, Files: j.Files, Secrets: j.Secrets}
}

// Limit is what a metric must not do, for people: "above 0.01 for 1m".
func (m *Metric) Limit() string {
	text := "at any value"
	switch number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }; {
	case m.Above != nil:
		text = "above " + number(*m.Above)
	case m.Below != nil:
		text = "below " + number(*m.Below)
	}
	if m.For > 0 {
		text += " for " + m.For.String()
	}
	return text
}

// Bad says whether a value is beyond the limit.
func (m *Metric) Bad(value float64) bool {
	return m.Above != nil && value > *m.Above || m.Below != nil && value < *m.Below
}

// Worse says whether a value is nearer to the limit than another one, or further beyond it.
func (m *Metric) Worse(value, than float64) bool {
	if m.Below != nil {
		return value < than
	}
	return value > than
}

// Moment is what the variables of a query stand for.
type Moment struct {
	Release, From, App, Env string
	Percent                 int
	Since                   time.Duration // that the step began
}

// queryVariable is a variable in a query. PromQL has $ at most at the end of a regular expression, before a quote.
var queryVariable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// queryVariables are those that there are.
func queryVariables() []string {
	return []string{"RELEASE", "FROM", "APP", "ENV", "PERCENT", "SECONDS"}
}

// At is the query of a moment.
func (m *Metric) At(at Moment) string {
	values := map[string]string{"RELEASE": at.Release, "FROM": at.From, "APP": at.App, "ENV": at.Env,
		"PERCENT": strconv.Itoa(at.Percent), "SECONDS": strconv.Itoa(max(1, int(at.Since.Seconds())))}
	return queryVariable.ReplaceAllStringFunc(m.Query, func(text string) string {
		return values[strings.Trim(text, "${}")]
	})
}

// questions is how many there may be of each kind: each costs an answer every few seconds.
const questions = 20

// abortOn checks the limits, and what is asked.
func (c *checker) abortOn(a *AbortOn) {
	if a == nil {
		return
	}
	if !slices.ContainsFunc([]string{"error_rate", "p99_over_old", "prometheus", "command"}, func(key string) bool { return c.has("cutover", "abort_on", key) }) {
		c.fail(c.at("cutover", "abort_on"), "cutover.abort_on needs error_rate, p99_over_old, prometheus or command")
	}
	if a.ErrorRate == 0 && c.decodes(new(Percent), "cutover", "abort_on", "error_rate") {
		c.fail(c.at("cutover", "abort_on", "error_rate"), "cutover.abort_on.error_rate must be above 0%%")
	}
	if a.P99OverOld < 1 && c.decodes(new(Ratio), "cutover", "abort_on", "p99_over_old") {
		c.fail(c.at("cutover", "abort_on", "p99_over_old"), "cutover.abort_on.p99_over_old must be at least 1x")
	}
	for i := range a.Prometheus {
		c.metric(&a.Prometheus[i], "cutover.abort_on."+indexed("prometheus", i), "cutover", "abort_on", "prometheus", i)
	}
	for i := range a.Command {
		if a.Command[i].Every < leastTimeout && c.decodes(new(Duration), "cutover", "abort_on", "command", i, "every") {
			c.fail(c.at("cutover", "abort_on", "command", i, "every"), "cutover.abort_on.%s.every must be at least %s", indexed("command", i), leastTimeout)
		}
	}
	if len(a.Prometheus) > questions || len(a.Command) > questions {
		c.fail(c.at("cutover", "abort_on"), "cutover.abort_on may have %d queries and %d commands", questions, questions)
	}
}

// metric checks a query and its limit.
func (c *checker) metric(m *Metric, name string, at ...any) {
	pos := func(key string) Position { return c.at(append(slices.Clone(at), key)...) }
	given := func(key string) bool { return c.root.At(append(slices.Clone(at), key)...) != nil }
	if given("above") == given("below") {
		c.fail(c.at(at...), "%s needs above or below, one of them", name)
	}
	for key, limit := range map[string]*float64{"above": m.Above, "below": m.Below} {
		if limit != nil && (math.IsNaN(*limit) || math.IsInf(*limit, 0)) {
			c.fail(pos(key), "%s.%s must be a number", name, key)
		}
	}
	for _, d := range []struct {
		key   string
		value Duration
		least Duration
	}{{"for", m.For, 0}, {"every", m.Every, leastTimeout}, {"timeout", m.Timeout, Duration(100 * time.Millisecond)}} {
		if d.value < d.least && given(d.key) {
			c.fail(pos(d.key), "%s.%s must be at least %s", name, d.key, d.least)
		}
	}
	if given("query") && strings.TrimSpace(m.Query) == "" {
		c.fail(pos("query"), "%s.query must not be empty", name)
	}
	for _, found := range queryVariable.FindAllString(m.Query, -1) {
		if variable := strings.Trim(found, "${}"); !slices.Contains(queryVariables(), variable) {
			_ = c.fail(pos("query"), "%s.query: there is no variable $%s", name, variable).WithHint("there are $%s", strings.Join(queryVariables(), ", $"))
		}
	}
	c.prometheus(m.URL, m.Token, m.Headers, name, at...)
}

// prometheus checks the address of a server, and who it is told that asks.
func (c *checker) prometheus(address, token string, headers map[string]string, name string, at ...any) {
	pos := func(key string) Position { return c.at(append(slices.Clone(at), key)...) }
	if address == "" && (token != "" || len(headers) > 0) {
		c.fail(c.at(at...), "%s has a token or headers, and no url that they are for", name)
	}
	if address != "" {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			c.fail(pos("url"), "%s.url must be http://host:port or https://host, and may have a path", name).
				WithHint("a password belongs into headers: {Authorization: file:/path}, by reference")
		}
	}
	if token != "" {
		c.reference(pos("token"), name+".token", token)
	}
	for _, header := range sortedKeys(headers) {
		where := c.at(append(slices.Clone(at), "headers", header)...)
		if !httpguts.ValidHeaderFieldName(header) {
			c.fail(where, "%q in %s.headers is not the name of a header", header, name)
		}
		if token != "" && http.CanonicalHeaderKey(header) == "Authorization" {
			c.fail(where, "%s has a token and a header Authorization", name)
		}
		c.reference(where, name+".headers."+header, headers[header])
	}
}
