package awstest

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// instance is one machine: pending, running, shutting down, terminated. It never boots anything.
type instance struct {
	tagged
	id, image, kind, subnet, zone, ip, token, market, userData, reason, group string
	began, running                                                            time.Time
	ending, ended                                                             time.Time // zero: it runs
	server                                                                    *http.Server
	hidden                                                                    bool // from lists
}

// states of an instance, with the codes that EC2 gives them.
var stateCodes = map[string]int{"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}

func (i *instance) state() string {
	now := time.Now()
	switch {
	case !i.ending.IsZero() && now.After(i.ended):
		return "terminated"
	case !i.ending.IsZero():
		return "shutting-down"
	case now.After(i.running):
		return "running"
	}
	return "pending"
}

func (s *Server) terminate(i *instance, reason string) {
	if i.ending.IsZero() {
		i.reason, i.ending, i.ended = reason, time.Now(), time.Now().Add(s.opts.Takes)
		i.silence()
	}
}

// Shutdown lets an instance end by itself, as one whose system powers off and that is to terminate then.
func (s *Server) Shutdown(region, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terminate(s.region(region).instances[id], "Client.InstanceInitiatedShutdown")
}

// Hide has lists lack an instance, as those from an older replica do, or have it again.
func (s *Server) Hide(region, id string, hidden bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.region(region).instances[id].hidden = hidden
}

// Living are the ids of the instances that have not ended, listed or not.
func (s *Server) Living(region string) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, i := range s.region(region).instances {
		if i.ending.IsZero() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// UserData is what an instance was launched with.
func (s *Server) UserData(region, id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, _ := base64.StdEncoding.DecodeString(s.region(region).instances[id].userData) // checked at launch
	return string(text)
}

func noInstance(id string) *Fault {
	return &Fault{http.StatusBadRequest, "InvalidInstanceID.NotFound", "The instance ID '" + id + "' does not exist"}
}

type instanceItem struct {
	ID        string   `xml:"instanceId"`
	Image     string   `xml:"imageId"`
	Code      int      `xml:"instanceState>code"`
	State     string   `xml:"instanceState>name"`
	Kind      string   `xml:"instanceType"`
	Launched  string   `xml:"launchTime"`
	Zone      string   `xml:"placement>availabilityZone"`
	Subnet    string   `xml:"subnetId"`
	IP        string   `xml:"privateIpAddress,omitempty"`
	Lifecycle string   `xml:"instanceLifecycle,omitempty"`
	Token     string   `xml:"clientToken"`
	Reason    *because `xml:"stateReason"`
	Tags      []tag    `xml:"tagSet>item"`
}

type because struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

func (i *instance) item() instanceItem {
	out := instanceItem{ID: i.id, Image: i.image, State: i.state(), Kind: i.kind, Launched: i.began.UTC().Format("2006-01-02T15:04:05.000Z"), Zone: i.zone,
		Subnet: i.subnet, IP: i.ip, Lifecycle: i.market, Token: i.token, Tags: i.tagList()}
	out.Code = stateCodes[out.State]
	if out.State == "terminated" || out.State == "shutting-down" {
		out.Reason, out.IP = &because{i.reason, i.reason}, ""
	}
	return out
}

type reservation struct {
	ID        string         `xml:"reservationId"`
	Owner     string         `xml:"ownerId"`
	Instances []instanceItem `xml:"instancesSet>item"`
}

func reservationOf(i *instance) reservation {
	return reservation{"r-" + i.id[2:], Account, []instanceItem{i.item()}}
}

func runInstances(q *request) (any, *Fault) {
	template, f := q.template(q.get("LaunchTemplate.LaunchTemplateName"), q.get("LaunchTemplate.Version"))
	if f != nil {
		return nil, f
	}
	i := &instance{image: cmp.Or(q.get("ImageId"), template.data["ImageId"]), kind: q.get("InstanceType"), subnet: q.get("SubnetId"), token: q.get("ClientToken"), userData: q.get("UserData")}
	if market := q.get("InstanceMarketOptions.MarketType"); market != "" {
		i.market = market
		q.get("InstanceMarketOptions.SpotOptions.SpotInstanceType")
		q.get("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior")
	}
	tags, f := q.specified("instance", "volume")
	if f != nil {
		return nil, f
	}
	i.tags = tags["instance"]
	if q.get("MinCount") != "1" || q.get("MaxCount") != "1" {
		return nil, &Fault{http.StatusBadRequest, "InvalidParameterValue", "this server launches one instance at a time"}
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	text := q.form.Encode()
	if before, ok := q.region.launched[i.token]; ok && i.token != "" {
		if before.params != text {
			return nil, &Fault{http.StatusBadRequest, "IdempotentParameterMismatch", "The client token was used with other parameters"}
		}
		return reservationOf(q.region.instances[before.id]), nil
	}
	n := q.region.subnet(i.subnet)
	decoded, err := base64.StdEncoding.DecodeString(i.userData)
	switch image := q.region.images[i.image]; {
	case image == nil:
		return nil, noImage(i.image)
	case q.imageState(image) != "available":
		return nil, &Fault{http.StatusBadRequest, "InvalidAMIID.Unavailable", "The image ID '" + i.image + "' is not available"}
	case n == nil:
		return nil, &Fault{http.StatusBadRequest, "InvalidSubnetID.NotFound", "The subnet ID '" + i.subnet + "' does not exist"}
	case i.kind == "":
		return nil, &Fault{http.StatusBadRequest, "MissingParameter", "no instance type is given"}
	case err != nil || len(decoded) > 16384:
		return nil, &Fault{http.StatusBadRequest, "InvalidParameterValue", "User data is limited to 16384 bytes"}
	}
	q.boot(q.region, i, n)
	q.region.launched[i.token] = launched{text, i.id}
	return reservationOf(i), nil
}

// launched is what a client token of RunInstances stands for.
type launched struct{ params, id string }

func (s *Server) boot(r *region, i *instance, n *subnet) {
	i.id, i.zone, i.began = s.id("i"), n.zone, time.Now()
	i.running = i.began.Add(s.opts.Takes)
	n.used++
	i.ip = n.address()
	r.instances[i.id] = i
	s.answers(r, i)
}

func describeInstances(q *request) (any, *Fault) {
	ids := q.list("InstanceId")
	filters, f := q.filters("Filter", ".Value", "instance-state-name", "instance-id", "image-id", "subnet-id", "client-token")
	if f != nil {
		return nil, f
	}
	page, f := q.pageBut(len(ids) > 0, "InstanceIds")
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	for _, id := range ids {
		if i := q.region.instances[id]; i == nil || i.hidden || q.unseen(i.began) {
			return nil, noInstance(id)
		}
	}
	var found []reservation
	for id, i := range q.region.instances {
		if i.hidden || q.unseen(i.began) || len(ids) > 0 && !slices.Contains(ids, id) {
			continue
		}
		ok := pass(filters, &i.tagged, map[string]string{"instance-state-name": i.state(), "instance-id": id, "image-id": i.image, "subnet-id": i.subnet, "client-token": i.token})
		if ok {
			found = append(found, reservationOf(i))
		}
	}
	slices.SortFunc(found, func(a, b reservation) int { return strings.Compare(a.ID, b.ID) })
	shown, next := paged(found, page)
	return struct {
		Items []reservation `xml:"reservationSet>item"`
		Next  string        `xml:"nextToken,omitempty"`
	}{shown, next}, nil
}

func terminateInstances(q *request) (any, *Fault) {
	ids := q.list("InstanceId")
	q.get("SkipOsShutdown")
	q.get("Force")
	if f := q.unread(); f != nil {
		return nil, f
	}
	for _, id := range ids { // all or none
		if q.region.instances[id] == nil {
			return nil, noInstance(id)
		}
	}
	type change struct {
		ID      string `xml:"instanceId"`
		Code    int    `xml:"currentState>code"`
		Current string `xml:"currentState>name"`
	}
	var changes []change
	for _, id := range ids {
		i := q.region.instances[id]
		q.terminate(i, "Client.UserInitiatedShutdown")
		changes = append(changes, change{id, stateCodes[i.state()], i.state()})
	}
	return struct {
		Items []change `xml:"instancesSet>item"`
	}{changes}, nil
}
