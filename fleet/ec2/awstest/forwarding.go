package awstest

import (
	"slices"
	"strconv"
)

// doing is an action: to forward, or to answer with a fixed response.
type doing struct {
	Type    string
	Order   int         `xml:"Order,omitempty"`
	Group   string      `xml:"TargetGroupArn,omitempty"` // of a forward action with a single group
	Forward *forwarding `xml:"ForwardConfig"`
	Fixed   *fixed      `xml:"FixedResponseConfig"`
}

type forwarding struct {
	Groups []weighted  `xml:"TargetGroups>member"`
	Sticky *stickiness `xml:"TargetGroupStickinessConfig"`
}

type weighted struct {
	ARN    string `xml:"TargetGroupArn"`
	Weight int
}

type stickiness struct {
	Enabled  bool
	Duration int `xml:"DurationSeconds,omitempty"`
}

type fixed struct {
	StatusCode  string
	ContentType string `xml:",omitempty"`
	MessageBody string `xml:",omitempty"`
}

// doing reads the one action that a rule or listener may have here.
func (q *request) doing(prefix string) (doing, *Fault) {
	var all []doing
	var f *Fault
	q.each(prefix+".member", func(p string) {
		one, bad := q.doingAt(p)
		if bad != nil {
			f = bad
		}
		all = append(all, one)
	})
	if f == nil && len(all) != 1 {
		f = elbFault("ValidationError", "%d actions; one is possible here", len(all))
	}
	if f != nil {
		return doing{}, f
	}
	return all[0], nil
}

func (q *request) doingAt(p string) (doing, *Fault) {
	out := doing{Type: q.get(p + ".Type")}
	q.get(p + ".Order")
	switch out.Type {
	case "forward":
		to, f := q.forwarding(p)
		out.Forward = to
		if f == nil && len(to.Groups) == 1 {
			out.Group = to.Groups[0].ARN
		}
		return out, f
	case "fixed-response":
		c := p + ".FixedResponseConfig."
		out.Fixed = &fixed{q.get(c + "StatusCode"), q.get(c + "ContentType"), q.get(c + "MessageBody")}
		if n, err := strconv.Atoi(out.Fixed.StatusCode); err != nil || n < 200 || n > 599 || n/100 == 3 || len(out.Fixed.MessageBody) > 1024 {
			return out, elbFault("ValidationError", "The fixed response is not valid")
		}
		return out, nil
	}
	return out, elbFault("ValidationError", "The action type '%s' is not valid", out.Type)
}

func (q *request) forwarding(p string) (*forwarding, *Fault) {
	to := &forwarding{Sticky: &stickiness{}}
	var f *Fault
	if arn := q.get(p + ".TargetGroupArn"); arn != "" {
		to.Groups = append(to.Groups, weighted{arn, 1})
	}
	c := p + ".ForwardConfig."
	q.each(c+"TargetGroups.member", func(p string) {
		w := weighted{q.get(p + ".TargetGroupArn"), 1}
		if text := q.get(p + ".Weight"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n > 999 {
				f = elbFault("ValidationError", "Weight '%s' must be between 0 and 999", text)
			}
			w.Weight = n
		}
		to.Groups = append(to.Groups, w)
	})
	if q.get(c+"TargetGroupStickinessConfig.Enabled") == "true" {
		n, err := strconv.Atoi(q.get(c + "TargetGroupStickinessConfig.DurationSeconds"))
		if err != nil || n < 1 || n > 604800 {
			f = elbFault("ValidationError", "The stickiness duration must be between 1 and 604800 seconds")
		}
		to.Sticky = &stickiness{true, n}
	} else {
		q.get(c + "TargetGroupStickinessConfig.DurationSeconds")
	}
	switch {
	case f != nil:
	case len(to.Groups) == 0:
		f = elbFault("ValidationError", "A target group ARN must be specified")
	case len(to.Groups) > mostGroups:
		f = elbFault("TooManyTargetGroups", "You cannot specify more than %d target groups for an action", mostGroups)
	}
	for i, w := range to.Groups {
		if _, missing := q.targetGroup(w.ARN); missing != nil && f == nil {
			f = missing
		}
		if f == nil && slices.ContainsFunc(to.Groups[:i], func(o weighted) bool { return o.ARN == w.ARN }) {
			f = elbFault("ValidationError", "Target group '%s' is specified twice", w.ARN)
		}
	}
	return to, f
}

// forwards is whether a rule or listener sends requests to a group, weight 0 included.
func (d doing) forwards(arn string) bool {
	return d.Forward != nil && slices.ContainsFunc(d.Forward.Groups, func(w weighted) bool { return w.ARN == arn })
}
