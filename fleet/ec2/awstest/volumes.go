package awstest

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// volume is an empty one that nobody attaches.
type volume struct {
	id, zone string
	gib      int64
}

func noVolume(id string) *Fault {
	return &Fault{http.StatusBadRequest, "InvalidVolume.NotFound", "The volume '" + id + "' does not exist."}
}

func createVolume(q *request) (any, *Fault) {
	v := &volume{zone: q.get("AvailabilityZone")}
	size := q.get("Size")
	q.get("ClientToken") // of the SDK's own
	if f := q.unread(); f != nil {
		return nil, f
	}
	gib, err := strconv.ParseInt(size, 10, 64)
	if err != nil || gib < 1 || gib > 16384 {
		return nil, &Fault{http.StatusBadRequest, "InvalidParameterValue", "Value (" + size + ") for parameter size is invalid."}
	}
	if !slices.Contains(zones(q.region.name), v.zone) {
		return nil, &Fault{http.StatusBadRequest, "InvalidZone.NotFound", "The zone '" + v.zone + "' does not exist."}
	}
	v.id, v.gib = q.id("vol"), gib
	q.region.volumes[v.id] = v
	return struct {
		ID    string `xml:"volumeId"`
		Size  int64  `xml:"size"`
		Zone  string `xml:"availabilityZone"`
		State string `xml:"status"`
	}{v.id, v.gib, v.zone, "creating"}, nil
}

func deleteVolume(q *request) (any, *Fault) {
	id := q.get("VolumeId")
	if f := q.unread(); f != nil {
		return nil, f
	}
	if q.region.volumes[id] == nil {
		return nil, noVolume(id)
	}
	delete(q.region.volumes, id)
	return nil, nil
}

// createSnapshot makes one of a volume, which has no blocks since nothing writes to volumes here.
func createSnapshot(q *request) (any, *Fault) {
	id, about := q.get("VolumeId"), q.get("Description")
	if f := q.unread(); f != nil {
		return nil, f
	}
	v := q.region.volumes[id]
	if v == nil {
		return nil, noVolume(id)
	}
	now := time.Now()
	n := &snapshot{id: q.id("snap"), description: about, gib: v.gib, began: now, wrote: now, completed: now.Add(q.opts.Takes), written: map[int][]byte{}}
	q.region.snapshots[n.id] = n
	return struct {
		ID     string `xml:"snapshotId"`
		Volume string `xml:"volumeId"`
		Status string `xml:"status"`
		Start  string `xml:"startTime"`
		Size   int64  `xml:"volumeSize"`
	}{n.id, v.id, "pending", now.UTC().Format(time.RFC3339), v.gib}, nil
}
