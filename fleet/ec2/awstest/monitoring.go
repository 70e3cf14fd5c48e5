package awstest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// monitoring answers CloudWatch's requests: Smithy RPC v2 with CBOR, which is what the SDK speaks to it by now.
// [https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html]
func (s *Server) monitoring(w http.ResponseWriter, r *http.Request, region string) {
	service, action, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/service/"), "/operation/")
	body, err := io.ReadAll(r.Body)
	if !found || service != "GraniteServiceVersion20100801" || r.Header.Get("Smithy-Protocol") != "rpc-v2-cbor" || err != nil {
		cborFault(w, &Fault{http.StatusNotFound, "UnknownOperationException", "no such service or protocol here"})
		return
	}
	answer, f := s.monitor(Call{Service: "cloudwatch", Action: action, Region: region}, body)
	if f != nil {
		cborFault(w, f)
		return
	}
	writeCBOR(w, http.StatusOK, answer)
}

func (s *Server) monitor(c Call, body []byte) (cbor.Value, *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.begin(c); f != nil {
		return nil, f
	}
	if c.Action != "GetMetricData" {
		return nil, &Fault{http.StatusNotFound, "UnknownOperationException", "no operation " + c.Action + " here"}
	}
	in, err := cbor.Decode(body)
	if err != nil {
		return nil, elbFault("SerializationException", "%v", err)
	}
	queries, from, to, err := readMetricQueries(in)
	if err != nil {
		return nil, elbFault("ValidationError", "%v", err)
	}
	if len(queries) > 500 || !from.Before(to) {
		return nil, elbFault("ValidationError", "at most 500 queries, and the start must be before the end")
	}
	results := cbor.List{}
	for _, q := range queries {
		r, f := s.region(c.Region).answerMetric(q, from, to)
		if f != nil {
			return nil, f
		}
		results = append(results, r.cbor())
	}
	return cbor.Map{"MetricDataResults": results, "Messages": cbor.List{}}, nil
}

func (r metricResult) cbor() cbor.Value {
	times, values := cbor.List{}, cbor.List{}
	for i, at := range r.times {
		times = append(times, &cbor.Tag{ID: 1, Value: cbor.Float64(at.Unix())})
		values = append(values, cbor.Float64(r.values[i]))
	}
	return cbor.Map{"Id": cbor.String(r.id), "Label": cbor.String(r.id), "StatusCode": cbor.String("Complete"), "Timestamps": times, "Values": values}
}

// members are the members of a structure; one that is not named is an error.
func members(v cbor.Value, known ...string) (map[string]cbor.Value, error) {
	m, ok := v.(cbor.Map)
	if !ok {
		return nil, fmt.Errorf("%T where a structure is to be", v)
	}
	for name := range m {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			return nil, fmt.Errorf("the member %s is not known here", name)
		}
	}
	return m, nil
}

func readMetricQueries(v cbor.Value) (queries []metricQuery, from, to time.Time, err error) {
	in, err := members(v, "StartTime", "EndTime", "MetricDataQueries", "NextToken")
	if err == nil {
		from, err = cbor.AsTime(in["StartTime"])
	}
	if err == nil {
		to, err = cbor.AsTime(in["EndTime"])
	}
	list, _ := in["MetricDataQueries"].(cbor.List)
	for _, one := range list {
		if err == nil {
			var q metricQuery
			q, err = readMetricQuery(one)
			queries = append(queries, q)
		}
	}
	return queries, from, to, err
}

func readMetricQuery(v cbor.Value) (q metricQuery, err error) {
	outer, err := members(v, "Id", "MetricStat", "ReturnData")
	if err != nil {
		return q, err
	}
	stat, err := members(outer["MetricStat"], "Metric", "Period", "Stat")
	if err != nil {
		return q, err
	}
	metric, err := members(stat["Metric"], "Namespace", "MetricName", "Dimensions")
	if err != nil {
		return q, err
	}
	period, err := cbor.AsInt32(stat["Period"])
	q = metricQuery{id: text(outer["Id"]), stat: text(stat["Stat"]), namespace: text(metric["Namespace"]), metric: text(metric["MetricName"]), period: int(period),
		dimensions: map[string]string{}}
	list, _ := metric["Dimensions"].(cbor.List)
	for _, d := range list {
		one, derr := members(d, "Name", "Value")
		if derr != nil {
			return q, derr
		}
		q.dimensions[text(one["Name"])] = text(one["Value"])
	}
	return q, err
}

func text(v cbor.Value) string {
	s, _ := v.(cbor.String)
	return string(s)
}

func cborFault(w http.ResponseWriter, f *Fault) {
	w.Header().Set("X-Amzn-Query-Error", f.Code+";Sender")
	writeCBOR(w, f.Status, cbor.Map{"__type": cbor.String("com.amazonaws.cloudwatch#" + f.Code), "message": cbor.String(f.Message)})
}

func writeCBOR(w http.ResponseWriter, status int, v cbor.Value) {
	w.Header().Set("Content-Type", "application/cbor")
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.WriteHeader(status)
	_, _ = w.Write(cbor.Encode(v))
}
