package awstest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

type listenerItem struct {
	ARN      string `xml:"ListenerArn"`
	Balancer string `xml:"LoadBalancerArn"`
	Port     int
	Protocol string
	Actions  []doing `xml:"DefaultActions>member"`
}

type listenersAnswer struct {
	Items []listenerItem `xml:"Listeners>member"`
	Next  string         `xml:"NextMarker,omitempty"`
}

func (l *listener) item() listenerItem {
	return listenerItem{l.arn, l.balancer.arn, l.port, l.protocol, []doing{l.otherwise}}
}

func createListener(q *request) (any, *Fault) {
	b, f := q.balancer(q.get("LoadBalancerArn"))
	if f != nil {
		return nil, f
	}
	l := &listener{protocol: q.get("Protocol"), balancer: b}
	l.tags = q.tagsOf("Tags.member")
	port, err := strconv.ParseUint(q.get("Port"), 10, 16)
	q.each("Certificates.member", func(p string) { q.get(p + ".CertificateArn") })
	q.get("SslPolicy")
	if l.otherwise, f = q.doing("DefaultActions"); f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	if err != nil || port == 0 || l.protocol != "HTTP" && l.protocol != "HTTPS" {
		return nil, elbFault("ValidationError", "port or protocol of the listener is not valid")
	}
	l.port = int(port)
	if slices.ContainsFunc(b.listeners, func(o *listener) bool { return o.port == l.port }) {
		return nil, elbFault("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", b.arn)
	}
	l.arn = q.arn("listener/app/" + b.name + "/" + b.arn[strings.LastIndexByte(b.arn, '/')+1:] + "/" + q.suffix())
	if q.opts.Listen != nil {
		if l.front, err = q.serve(q.region, l, q.opts.Listen(l.port)); err != nil {
			return nil, &Fault{http.StatusInternalServerError, "InternalFailure", err.Error()}
		}
	}
	b.listeners = append(b.listeners, l)
	return listenersAnswer{Items: []listenerItem{l.item()}}, nil
}

func (q *request) listener(arn string) (*listener, *Fault) {
	for _, b := range q.region.balancing.balancers {
		for _, l := range b.listeners {
			if l.arn == arn {
				return l, nil
			}
		}
	}
	return nil, elbFault("ListenerNotFound", "One or more listeners not found")
}

func describeListeners(q *request) (any, *Fault) {
	of, arns := q.get("LoadBalancerArn"), q.list("ListenerArns.member")
	if (of == "") == (len(arns) == 0) {
		return nil, elbFault("ValidationError", "Either listener ARNs or a load balancer ARN must be specified")
	}
	var found []listenerItem
	for _, arn := range arns {
		l, f := q.listener(arn)
		if f != nil {
			return nil, f
		}
		found = append(found, l.item())
	}
	if of != "" {
		b, f := q.balancer(of)
		if f != nil {
			return nil, f
		}
		for _, l := range b.listeners {
			found = append(found, l.item())
		}
	}
	page, next, f := marked(q, found)
	return listenersAnswer{page, next}, f
}

func modifyListener(q *request) (any, *Fault) {
	l, f := q.listener(q.get("ListenerArn"))
	if f != nil {
		return nil, f
	}
	to, f := q.doing("DefaultActions")
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	l.otherwise = to
	return listenersAnswer{Items: []listenerItem{l.item()}}, nil
}

func deleteListener(q *request) (any, *Fault) {
	l, f := q.listener(q.get("ListenerArn"))
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	l.front.close()
	l.balancer.listeners = slices.DeleteFunc(l.balancer.listeners, func(o *listener) bool { return o == l })
	return struct{}{}, nil
}
