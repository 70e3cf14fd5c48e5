package awstest

import (
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// request is a call of a query protocol under way, with the server's lock held.
type request struct {
	*Server
	region *region
	form   url.Values
	read   map[string]bool // parameters that an action looked at: the others are errors
}

// action does one thing and gives what its answer holds: a struct for encoding/xml, or nil for nothing but success.
type action func(*request) (any, *Fault)

// wire is how answers of a query protocol are wrapped.
type wire interface {
	answer(w http.ResponseWriter, action string, result any)
	fault(w http.ResponseWriter, f *Fault)
}

func (s *Server) query(w http.ResponseWriter, r *http.Request, c Call, actions map[string]action, how wire) {
	if err := r.ParseForm(); err != nil {
		how.fault(w, &Fault{http.StatusBadRequest, "MalformedQueryString", err.Error()})
		return
	}
	c.Action, c.Params = r.Form.Get("Action"), r.Form
	result, f := s.act(c, actions)
	if f != nil {
		how.fault(w, f)
		return
	}
	how.answer(w, c.Action, result)
}

func (s *Server) act(c Call, actions map[string]action) (any, *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.begin(c); f != nil {
		return nil, f
	}
	do := actions[c.Action]
	if do == nil {
		return nil, &Fault{http.StatusBadRequest, "InvalidAction", "The action " + c.Action + " is not valid for this endpoint."}
	}
	if c.Service == "ec2" && c.Params.Get("DryRun") == "true" {
		return nil, &Fault{http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."}
	}
	q := &request{Server: s, region: s.region(c.Region), form: c.Params, read: map[string]bool{"Action": true, "Version": true, "DryRun": true}}
	return do(q)
}

// unread is an error when the request has a parameter that its action did not look at. An action asks before it changes anything.
func (q *request) unread() *Fault {
	for name := range q.form {
		if q.read[name] {
			continue
		}
		return &Fault{http.StatusBadRequest, "UnknownParameter", "The parameter " + name + " is not recognized"}
	}
	return nil
}

func (q *request) get(name string) string {
	q.read[name] = true
	return q.form.Get(name)
}

// list is the values of Name.1, Name.2 and so on.
func (q *request) list(name string) (values []string) {
	for i := 1; ; i++ {
		key := name + "." + strconv.Itoa(i)
		if !q.form.Has(key) {
			return values
		}
		values = append(values, q.get(key))
	}
}

// each calls do with "Name.1", "Name.2" and so on, as long as there are parameters below them.
func (q *request) each(name string, do func(prefix string)) {
	for i := 1; ; i++ {
		prefix := name + "." + strconv.Itoa(i)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(q.form)), func(k string) bool { return strings.HasPrefix(k, prefix+".") }) {
			return
		}
		do(prefix)
	}
}

// ec2Wire wraps answers as EC2 does.
type ec2Wire struct{}

func (ec2Wire) answer(w http.ResponseWriter, action string, result any) {
	in := "<return>true</return>"
	if result != nil {
		in = inner(result)
	}
	write(w, http.StatusOK, `<`+action+`Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>`+requestID+`</requestId>`+in+`</`+action+`Response>`)
}

func (ec2Wire) fault(w http.ResponseWriter, f *Fault) {
	writeXML(w, f.Status, struct {
		XMLName xml.Name `xml:"Response"`
		Code    string   `xml:"Errors>Error>Code"`
		Message string   `xml:"Errors>Error>Message"`
		Request string   `xml:"RequestID"`
	}{Code: f.Code, Message: f.Message, Request: requestID})
}

// queryWire wraps answers as the other services do.
type queryWire struct{ namespace string }

func (q queryWire) answer(w http.ResponseWriter, action string, result any) {
	in := ""
	if result != nil {
		in = inner(result)
	}
	write(w, http.StatusOK, `<`+action+`Response xmlns="`+q.namespace+`"><`+action+`Result>`+in+`</`+action+`Result><ResponseMetadata><RequestId>`+
		requestID+`</RequestId></ResponseMetadata></`+action+`Response>`)
}

func (queryWire) fault(w http.ResponseWriter, f *Fault) { queryError(w, f) }

func queryError(w http.ResponseWriter, f *Fault) {
	kind := "Sender"
	if f.Status >= 500 {
		kind = "Receiver"
	}
	writeXML(w, f.Status, struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Type    string   `xml:"Error>Type"`
		Code    string   `xml:"Error>Code"`
		Message string   `xml:"Error>Message"`
		Request string   `xml:"RequestId"`
	}{Type: kind, Code: f.Code, Message: f.Message, Request: requestID})
}

const requestID = "59dbff89-35bd-4eac-99ed-be587EXAMPLE"

// inner is a struct as XML without the element around it.
func inner(v any) string {
	var body strings.Builder
	if err := xml.NewEncoder(&body).EncodeElement(v, xml.StartElement{Name: xml.Name{Local: "x"}}); err != nil {
		panic(err) // answers are structs of this package
	}
	return strings.TrimSuffix(strings.TrimPrefix(body.String(), "<x>"), "</x>")
}

func writeXML(w http.ResponseWriter, status int, v any) {
	body, err := xml.Marshal(v)
	if err != nil {
		panic(err)
	}
	write(w, status, string(body))
}

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(xml.Header + body))
}
