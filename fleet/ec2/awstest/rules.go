package awstest

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mostRules of a balancer, and most values of all conditions of a rule, by the default quotas.
const (
	mostRules      = 100
	mostValues     = 5
	mostGroups     = 5 // in one forward action
	mostPriorities = 50000
)

// rule sends requests that meet all its conditions elsewhere than the listener's default action.
type rule struct {
	tagged
	arn        string
	priority   int
	conditions []condition
	action     doing
	began      time.Time
}

// condition is one, in the form of its answer.
type condition struct {
	Field  string
	Values []string      `xml:"Values>member"`
	Host   *values       `xml:"HostHeaderConfig"`
	Path   *values       `xml:"PathPatternConfig"`
	Source *values       `xml:"SourceIpConfig"`
	Header *headerValues `xml:"HttpHeaderConfig"`
}

type values struct {
	Values []string `xml:"Values>member"`
}

type headerValues struct {
	Name   string   `xml:"HttpHeaderName"`
	Values []string `xml:"Values>member"`
}

func (q *request) conditions() (all []condition, f *Fault) {
	count := 0
	q.each("Conditions.member", func(p string) {
		c := condition{Field: q.get(p + ".Field"), Values: q.list(p + ".Values.member")}
		of := func(config string) *values {
			return &values{append(slices.Clone(c.Values), q.list(p+"."+config+".Values.member")...)}
		}
		var list []string
		switch c.Field {
		case "host-header":
			c.Host = of("HostHeaderConfig")
			list, c.Values = c.Host.Values, c.Host.Values
		case "path-pattern":
			c.Path = of("PathPatternConfig")
			list, c.Values = c.Path.Values, c.Path.Values
		case "source-ip":
			c.Source = of("SourceIpConfig")
			list = c.Source.Values
		case "http-header":
			c.Header = &headerValues{q.get(p + ".HttpHeaderConfig.HttpHeaderName"), q.list(p + ".HttpHeaderConfig.Values.member")}
			list = c.Header.Values
		default:
			f = elbFault("ValidationError", "Condition field '%s' must be one of '[http-request-method, path-pattern, host-header, query-string, http-header, source-ip]'", c.Field)
		}
		count += len(list)
		if bad := c.check(list); bad != nil {
			f = bad
		}
		all = append(all, c)
	})
	if f == nil && count > mostValues {
		f = elbFault("ValidationError", "A rule can only have '%d' condition values", mostValues)
	}
	return all, f
}

// check finds values that the service does not take.
func (c condition) check(list []string) *Fault {
	if len(list) == 0 {
		return elbFault("ValidationError", "A condition value must be specified")
	}
	for _, v := range list {
		ok := v != "" && len(v) <= 128
		switch c.Field {
		case "host-header":
			dot := strings.LastIndexByte(v, '.')
			ok = ok && dot >= 0 && strings.Trim(strings.ToLower(v), "abcdefghijklmnopqrstuvwxyz0123456789-.*?") == "" &&
				dot < len(v)-1 && strings.Trim(strings.ToLower(v[dot+1:]), "abcdefghijklmnopqrstuvwxyz") == ""
		case "source-ip":
			_, err := netip.ParsePrefix(v)
			ok = err == nil && v != "255.255.255.255/32"
		}
		if !ok {
			return elbFault("ValidationError", "Condition value '%s' of '%s' is not valid", v, c.Field)
		}
	}
	return nil
}

type ruleItem struct {
	ARN        string `xml:"RuleArn"`
	Priority   string
	Conditions []condition `xml:"Conditions>member"`
	Actions    []doing     `xml:"Actions>member"`
	IsDefault  bool
}

type rulesAnswer struct {
	Items []ruleItem `xml:"Rules>member"`
	Next  string     `xml:"NextMarker,omitempty"`
}

func (r *rule) item() ruleItem {
	return ruleItem{r.arn, strconv.Itoa(r.priority), r.conditions, []doing{r.action}, false}
}

func (l *listener) sort() {
	slices.SortFunc(l.rules, func(a, b *rule) int { return cmp.Compare(a.priority, b.priority) })
}

func (l *listener) taken(priority int) bool {
	return slices.ContainsFunc(l.rules, func(r *rule) bool { return r.priority == priority })
}

func createRule(q *request) (any, *Fault) {
	l, f := q.listener(q.get("ListenerArn"))
	if f != nil {
		return nil, f
	}
	r := &rule{began: time.Now()}
	r.tags = q.tagsOf("Tags.member")
	var err error
	r.priority, err = strconv.Atoi(q.get("Priority"))
	if r.conditions, f = q.conditions(); f != nil {
		return nil, f
	}
	if r.action, f = q.doing("Actions"); f == nil {
		f = q.unread()
	}
	if f == nil {
		f = checkTags(r.tags)
	}
	if f != nil {
		return nil, f
	}
	rules := 0
	for _, o := range l.balancer.listeners {
		rules += len(o.rules)
	}
	switch {
	case err != nil || r.priority < 1 || r.priority > mostPriorities || len(r.conditions) == 0:
		return nil, elbFault("ValidationError", "A rule needs conditions and a priority from 1 to %d", mostPriorities)
	case l.taken(r.priority):
		return nil, elbFault("PriorityInUse", "Priority '%d' is currently in use", r.priority)
	case rules >= mostRules:
		return nil, elbFault("TooManyRules", "The maximum number of rules has been reached")
	}
	r.arn = strings.Replace(l.arn, ":listener/", ":listener-rule/", 1) + "/" + q.suffix()
	l.rules = append(l.rules, r)
	l.sort()
	return rulesAnswer{Items: []ruleItem{r.item()}}, nil
}

func (q *request) rule(arn string) (*rule, *listener, *Fault) {
	for _, b := range q.region.balancing.balancers {
		for _, l := range b.listeners {
			for _, r := range l.rules {
				if r.arn == arn {
					return r, l, nil
				}
			}
		}
	}
	return nil, nil, elbFault("RuleNotFound", "One or more rules not found")
}

func describeRules(q *request) (any, *Fault) {
	of, arns := q.get("ListenerArn"), q.list("RuleArns.member")
	if (of == "") == (len(arns) == 0) {
		return nil, elbFault("ValidationError", "Either rule ARNs or a listener ARN must be specified")
	}
	var found []ruleItem
	for _, arn := range arns {
		r, _, f := q.rule(arn)
		if f != nil {
			return nil, f
		}
		found = append(found, r.item())
	}
	if of != "" {
		l, f := q.listener(of)
		if f != nil {
			return nil, f
		}
		for _, r := range l.rules {
			if !q.unseen(r.began) {
				found = append(found, r.item())
			}
		}
		found = append(found, ruleItem{strings.Replace(l.arn, ":listener/", ":listener-rule/", 1) + "/default", "default", nil, []doing{l.otherwise}, true})
	}
	page, next, f := marked(q, found)
	return rulesAnswer{page, next}, f
}

func modifyRule(q *request) (any, *Fault) {
	r, _, f := q.rule(q.get("RuleArn"))
	if f != nil {
		return nil, f
	}
	conditions, f := q.conditions()
	if f != nil {
		return nil, f
	}
	to := r.action
	if q.has("Actions.member.") {
		if to, f = q.doing("Actions"); f != nil {
			return nil, f
		}
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	if len(conditions) > 0 {
		r.conditions = conditions
	}
	r.action = to
	return rulesAnswer{Items: []ruleItem{r.item()}}, nil
}

// has is whether there are parameters with a prefix.
func (q *request) has(prefix string) bool {
	for name := range q.form {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func deleteRule(q *request) (any, *Fault) {
	r, l, f := q.rule(q.get("RuleArn"))
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	l.rules = slices.DeleteFunc(l.rules, func(o *rule) bool { return o == r })
	return struct{}{}, nil
}

// setRulePriorities moves all or none.
func setRulePriorities(q *request) (any, *Fault) {
	moves := map[*rule]int{}
	var at *listener
	var f *Fault
	q.each("RulePriorities.member", func(p string) {
		r, l, missing := q.rule(q.get(p + ".RuleArn"))
		n, err := strconv.Atoi(q.get(p + ".Priority"))
		switch {
		case missing != nil:
			f = missing
		case err != nil || n < 1 || n > mostPriorities:
			f = elbFault("ValidationError", "A priority is not valid")
		case at != nil && at != l:
			f = elbFault("ValidationError", "The rules are of different listeners")
		default:
			moves[r], at = n, l
		}
	})
	if f == nil {
		f = q.unread()
	}
	if f == nil && at == nil {
		f = elbFault("ValidationError", "Rule priorities must be specified")
	}
	if f != nil {
		return nil, f
	}
	taken := map[int]bool{}
	for _, r := range at.rules {
		n, moves := moves[r]
		if !moves {
			n = r.priority
		}
		if taken[n] {
			return nil, elbFault("PriorityInUse", "Priority '%d' is currently in use", n)
		}
		taken[n] = true
	}
	var answer rulesAnswer
	for r, n := range moves {
		r.priority = n
		answer.Items = append(answer.Items, r.item())
	}
	at.sort()
	return answer, nil
}
