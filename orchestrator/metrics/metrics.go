// Package metrics asks a Prometheus server, or what speaks its HTTP API (Thanos, Mimir, VictoriaMetrics), what a query comes to
// now. It only asks: whether the answer is good is for others to decide.
package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Query is a question to a server.
type Query struct {
	URL     string // of the server, without /api/v1
	Expr    string // PromQL
	Token   string // bearer token; "": none
	Headers map[string]string
	Timeout time.Duration // told to the server too; 0: as ctx says
	// Mask hides in an error's text what nobody may read, before it is made shorter; nil: there is nothing to hide.
	Mask func(string) string
}

// Sample is one value of an answer. It is never NaN.
type Sample struct {
	Labels string // {job="shop"}; "" of a number
	Value  float64
}

// ErrNoData says that the server answered, and has nothing for the query: no series, or no number in any.
var ErrNoData = errors.New("the query has no data")

const (
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 4 << 20
	// maxReason is how much of what a server says of itself is told, in bytes.
	maxReason = 300
)

// Ask asks for the value of now, as the server's clock has it. The error says why there is none; it may repeat what the server
// said, and is of one line. A redirection is not followed: the token is for the server that was named.
func Ask(ctx context.Context, q Query) ([]Sample, error) {
	if q.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.Timeout)
		defer cancel()
	}
	result, err := post(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %s", q.URL, q.oneLine(err))
	}
	samples, err := samplesOf(result)
	if errors.Is(err, ErrNoData) {
		return nil, fmt.Errorf("ask %s: %w", q.URL, err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %s", q.URL, q.oneLine(err))
	}
	return samples, nil
}

// answer is the form of all answers.
type answer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   data   `json:"data"`
}

type data struct {
	Type   model.ValueType `json:"resultType"`
	Result json.RawMessage `json:"result"`
}

// post sends the query and gives what the server has for it. [https://prometheus.io/docs/prometheus/latest/querying/api/]
func post(ctx context.Context, q Query) (data, error) {
	form := url.Values{"query": {q.Expr}}
	if q.Timeout > 0 {
		form.Set("timeout", strconv.FormatFloat(q.Timeout.Seconds(), 'f', -1, 64)) // 1.5s it would not take
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(q.URL, "/")+"/api/v1/query", strings.NewReader(form.Encode()))
	if err != nil {
		return data{}, err
	}
	for name, value := range q.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if q.Token != "" {
		req.Header.Set("Authorization", "Bearer "+q.Token)
	}
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return data{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return data{}, err
	}
	if len(body) > maxAnswer {
		return data{}, fmt.Errorf("the answer has more than %d MiB", maxAnswer>>20)
	}
	return read(resp.StatusCode, body)
}

// read is what an answer says. Refusals have a reason in the same form, if it was the server itself that refused.
func read(status int, body []byte) (data, error) {
	var a answer
	err := json.Unmarshal(body, &a)
	switch {
	case err == nil && a.Status == "error":
		return data{}, errors.New(a.Error)
	case status != http.StatusOK:
		return data{}, fmt.Errorf("it answered %d: %s", status, body)
	case err != nil:
		return data{}, fmt.Errorf("it does not speak Prometheus' API: %w", err)
	}
	return a.Data, nil
}

// samplesOf are the numbers of a result, those that are none left out.
func samplesOf(d data) ([]Sample, error) {
	var vector model.Vector
	var err error
	switch d.Type {
	case model.ValScalar:
		var scalar model.Scalar
		err = json.Unmarshal(d.Result, &scalar)
		vector = model.Vector{{Value: scalar.Value}}
	case model.ValVector:
		err = json.Unmarshal(d.Result, &vector)
	default:
		return nil, fmt.Errorf("the query gives a %s, not numbers of one moment", d.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("it does not speak Prometheus' API: %w", err)
	}
	var samples []Sample
	for _, s := range vector {
		switch {
		case s.Histogram != nil:
			return nil, errors.New("the query gives histograms, not numbers")
		case math.IsNaN(float64(s.Value)):
		case s.Metric == nil:
			samples = append(samples, Sample{Value: float64(s.Value)})
		default:
			samples = append(samples, Sample{Labels: s.Metric.String(), Value: float64(s.Value)})
		}
	}
	if len(samples) == 0 {
		return nil, ErrNoData
	}
	return samples, nil
}

// oneLine is an error's text in one line, not too long: servers may answer with whole pages.
func (q *Query) oneLine(err error) string {
	text := err.Error()
	if q.Mask != nil {
		text = q.Mask(text)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		text = "no answer in time"
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "…"
}
