package awstest

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// tag is one, as EC2 writes it.
type tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// tagged is what has tags.
type tagged struct {
	tags  map[string]string
	stale []staleTags // oldest first
}

// staleTags are what was there before a change, and are shown until it is known everywhere.
type staleTags struct {
	until time.Time
	tags  map[string]string
}

// changes is called before tags of a balancer's are changed.
func (t *tagged) changes(lag time.Duration) {
	t.stale = append(t.shown(), staleTags{time.Now().Add(lag), maps.Clone(t.tags)})
}

// shown are those that are shown still, or will be.
func (t *tagged) shown() []staleTags {
	now := time.Now()
	return slices.DeleteFunc(t.stale, func(s staleTags) bool { return now.After(s.until) })
}

func (t *tagged) setTag(key, value string) {
	if t.tags == nil {
		t.tags = map[string]string{}
	}
	t.tags[key] = value
}

func (t *tagged) tagList() []tag {
	var list []tag
	for k, v := range t.tags {
		list = append(list, tag{k, v})
	}
	slices.SortFunc(list, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// tagsOf reads prefix.1.Key and prefix.1.Value.
func (q *request) tagsOf(prefix string) map[string]string {
	tags := map[string]string{}
	q.each(prefix, func(p string) { tags[q.get(p+".Key")] = q.get(p + ".Value") })
	return tags
}

// specified reads TagSpecification for one kind of resource; a specification for another kind than kinds is an error.
func (q *request) specified(kinds ...string) (map[string]map[string]string, *Fault) {
	found := map[string]map[string]string{}
	var f *Fault
	q.each("TagSpecification", func(p string) {
		kind := q.get(p + ".ResourceType")
		if !slices.Contains(kinds, kind) {
			f = &Fault{http.StatusBadRequest, "InvalidParameterValue", "'" + kind + "' is not a valid taggable resource type for this operation."}
		}
		found[kind] = q.tagsOf(p + ".Tag")
	})
	return found, f
}

// resource finds what CreateTags may tag.
func (q *request) resource(id string) (*tagged, *Fault) {
	kind, _, _ := strings.Cut(id, "-")
	switch kind {
	case "snap":
		if s := q.region.snapshots[id]; s != nil {
			return &s.tagged, nil
		}
		return nil, noSnapshot(id)
	case "ami":
		if i := q.region.images[id]; i != nil {
			return &i.tagged, nil
		}
		return nil, noImage(id)
	case "i":
		if i := q.region.instances[id]; i != nil {
			return &i.tagged, nil
		}
		return nil, noInstance(id)
	}
	return nil, &Fault{http.StatusBadRequest, "InvalidID", "The ID '" + id + "' is not valid"}
}

func createTags(q *request) (any, *Fault) {
	tags := q.tagsOf("Tag")
	ids := q.list("ResourceId")
	if f := q.unread(); f != nil {
		return nil, f
	}
	var found []*tagged
	for _, id := range ids { // all or none
		r, f := q.resource(id)
		if f != nil {
			return nil, f
		}
		found = append(found, r)
	}
	for _, r := range found {
		for k, v := range tags {
			if strings.HasPrefix(k, "aws:") {
				return nil, &Fault{http.StatusBadRequest, "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use"}
			}
			r.setTag(k, v)
		}
	}
	return nil, nil
}

// filters are those of the request, name to values; one that is neither known nor of a tag is an error. Values have * and ? as
// wildcards.
func (q *request) filters(prefix, values string, known ...string) (map[string][]string, *Fault) {
	all := map[string][]string{}
	var f *Fault
	q.each(prefix, func(p string) {
		name := q.get(p + ".Name")
		all[name] = q.list(p + values)
		if !strings.HasPrefix(name, "tag:") && name != "tag-key" && !slices.Contains(known, name) {
			f = &Fault{http.StatusBadRequest, "InvalidParameterValue", "The filter '" + name + "' is invalid"}
		}
	})
	return all, f
}

// pass is whether something passes all filters; of gives its value by a filter's name.
func pass(filters map[string][]string, t *tagged, of map[string]string) bool {
	for name, wanted := range filters {
		if name == "tag-key" {
			if !slices.ContainsFunc(wanted, func(k string) bool { _, ok := t.tags[k]; return ok }) {
				return false
			}
			continue
		}
		value, has := of[name]
		if key, isTag := strings.CutPrefix(name, "tag:"); isTag {
			value, has = t.tags[key]
		}
		if !has || !slices.ContainsFunc(wanted, func(w string) bool { ok, _ := path.Match(w, value); return ok }) {
			return false
		}
	}
	return true
}
