package awstest

import (
	"strings"
)

// elbResource finds what has tags by its ARN.
func (q *request) elbResource(arn string) (*tagged, *Fault) {
	if b := q.region.balancing.balancers[arn]; b != nil {
		return &b.tagged, nil
	}
	if g := q.region.balancing.groups[arn]; g != nil {
		return &g.tagged, nil
	}
	if l, f := q.listener(arn); f == nil {
		return &l.tagged, nil
	}
	if r, _, f := q.rule(arn); f == nil {
		return &r.tagged, nil
	}
	kind := map[string]string{"targetgroup": "TargetGroupNotFound", "loadbalancer": "LoadBalancerNotFound", "listener": "ListenerNotFound", "listener-rule": "RuleNotFound"}
	what, _, _ := strings.Cut(strings.Join(strings.Split(arn, ":")[min(5, strings.Count(arn, ":")):], ":"), "/")
	code := kind[what]
	if code == "" {
		code = "ValidationError"
	}
	return nil, elbFault(code, "'%s' not found", arn)
}

func (q *request) elbResources() (arns []string, found []*tagged, f *Fault) {
	arns = q.list("ResourceArns.member")
	if len(arns) == 0 || len(arns) > 20 {
		return nil, nil, elbFault("ValidationError", "%d resource ARNs; 1 to 20 are possible", len(arns))
	}
	for _, arn := range arns { // all or none
		t, f := q.elbResource(arn)
		if f != nil {
			return nil, nil, f
		}
		found = append(found, t)
	}
	return arns, found, nil
}

func addTags(q *request) (any, *Fault) {
	_, found, f := q.elbResources()
	tags := q.tagsOf("Tags.member")
	if f == nil {
		f = q.unread()
	}
	if f == nil {
		f = checkTags(tags)
	}
	if f != nil {
		return nil, f
	}
	for _, t := range found {
		all := len(t.tags)
		for k := range tags {
			if _, has := t.tags[k]; !has {
				all++
			}
		}
		if all > 50 {
			return nil, elbFault("TooManyTags", "The maximum number of tags has been reached")
		}
	}
	for _, t := range found {
		t.changes(q.opts.Lag)
		for k, v := range tags {
			t.setTag(k, v)
		}
	}
	return struct{}{}, nil
}

// checkTags is what the service takes as tags: keys to 128 and values to 256 characters of letters, digits, blanks and + - = . _ : / @.
func checkTags(tags map[string]string) *Fault {
	odd := func(text string) bool {
		return strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789+-=._:/@ ") != ""
	}
	for k, v := range tags {
		if k == "" || len(k) > 128 || len(v) > 256 || odd(k) || odd(v) || strings.HasPrefix(k, "aws:") {
			return elbFault("ValidationError", "the tag '%s' with value '%s' is not valid", k, v)
		}
	}
	return nil
}

func removeTags(q *request) (any, *Fault) {
	_, found, f := q.elbResources()
	keys := q.list("TagKeys.member")
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	for _, t := range found {
		t.changes(q.opts.Lag)
		for _, k := range keys {
			delete(t.tags, k)
		}
	}
	return struct{}{}, nil
}

type tagsItem struct {
	ARN  string   `xml:"ResourceArn"`
	Tags []elbTag `xml:"Tags>member"`
}

// elbTag is one, as Elastic Load Balancing writes it.
type elbTag struct{ Key, Value string }

func describeTags(q *request) (any, *Fault) {
	arns, found, f := q.elbResources()
	if f == nil {
		f = q.unread()
	}
	if f != nil {
		return nil, f
	}
	var items []tagsItem
	for i, arn := range arns {
		item := tagsItem{ARN: arn}
		now := tagged{tags: found[i].tags}
		if found[i].stale = found[i].shown(); len(found[i].stale) > 0 {
			now.tags = found[i].stale[0].tags
		}
		for _, t := range now.tagList() {
			item.Tags = append(item.Tags, elbTag(t))
		}
		items = append(items, item)
	}
	return struct {
		Items []tagsItem `xml:"TagDescriptions>member"`
	}{items}, nil
}
