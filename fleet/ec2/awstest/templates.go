package awstest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// template is a launch template of one version.
type template struct {
	tagged
	id, name string
	data     map[string]string // parameters below LaunchTemplateData
	began    time.Time
}

// templateData are the parameters of a launch template that are known here, without their numbers.
var templateData = []string{"ImageId", "InstanceInitiatedShutdownBehavior", "IamInstanceProfile.Name", "IamInstanceProfile.Arn", "SecurityGroupId", "EbsOptimized",
	"MetadataOptions.HttpTokens", "MetadataOptions.HttpEndpoint", "MetadataOptions.HttpPutResponseHopLimit", "MetadataOptions.InstanceMetadataTags"}

type templateItem struct {
	ID      string `xml:"launchTemplateId"`
	Name    string `xml:"launchTemplateName"`
	Created string `xml:"createTime"`
	Version int    `xml:"defaultVersionNumber"`
	Latest  int    `xml:"latestVersionNumber"`
	Tags    []tag  `xml:"tagSet>item"`
}

func (t *template) item() templateItem {
	return templateItem{t.id, t.name, t.began.UTC().Format(time.RFC3339), 1, 1, t.tagList()}
}

type templateAnswer struct {
	Template templateItem `xml:"launchTemplate"`
}

func createLaunchTemplate(q *request) (any, *Fault) {
	t := &template{name: q.get("LaunchTemplateName"), data: map[string]string{}, began: time.Now()}
	q.get("ClientToken")
	tags, f := q.specified("launch-template")
	if f != nil {
		return nil, f
	}
	t.tags = tags["launch-template"]
	for name := range q.form {
		if rest, ok := strings.CutPrefix(name, "LaunchTemplateData."); ok && slices.ContainsFunc(templateData, func(k string) bool {
			return rest == k || strings.HasPrefix(rest, k+".") && strings.Trim(rest[len(k)+1:], "0123456789") == ""
		}) {
			t.data[rest] = q.get(name)
		}
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	if q.region.templates[t.name] != nil {
		return nil, &Fault{http.StatusBadRequest, "InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use."}
	}
	t.id = q.id("lt")
	q.region.templates[t.name] = t
	return templateAnswer{t.item()}, nil
}

// template finds one by name. Only version 1 and its names exist.
func (q *request) template(name, version string) (*template, *Fault) {
	t := q.region.templates[name]
	if t == nil {
		return nil, &Fault{http.StatusBadRequest, "InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name " + name + ", does not exist."}
	}
	if version != "" && version != "1" && version != "$Default" && version != "$Latest" {
		return nil, &Fault{http.StatusBadRequest, "InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version " + version}
	}
	return t, nil
}

func describeLaunchTemplates(q *request) (any, *Fault) {
	names := q.list("LaunchTemplateName")
	filters, f := q.filters("Filter", ".Value", "launch-template-name")
	if f != nil {
		return nil, f
	}
	page, f := q.page()
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	var found []templateItem
	for _, name := range names {
		if _, f := q.template(name, ""); f != nil {
			return nil, f
		}
	}
	for name, t := range q.region.templates {
		ok := pass(filters, &t.tagged, map[string]string{"launch-template-name": name})
		if ok && !q.unseen(t.began) && (len(names) == 0 || slices.Contains(names, name)) {
			found = append(found, t.item())
		}
	}
	slices.SortFunc(found, func(a, b templateItem) int { return strings.Compare(a.Name, b.Name) })
	shown, next := paged(found, page)
	return struct {
		Items []templateItem `xml:"launchTemplates>item"`
		Next  string         `xml:"nextToken,omitempty"`
	}{shown, next}, nil
}

func deleteLaunchTemplate(q *request) (any, *Fault) {
	t, f := q.template(q.get("LaunchTemplateName"), "")
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	delete(q.region.templates, t.name)
	return templateAnswer{t.item()}, nil
}
