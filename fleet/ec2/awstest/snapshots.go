package awstest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// blockSize is that of the EBS direct APIs, in bytes.
const blockSize = 512 << 10

// snapshot is one of EBS. It is pending until it is completed and the blocks are stored; one that nobody completes in time ends in error.
type snapshot struct {
	tagged
	id, parent, description, key string
	gib                          int64
	encrypted                    bool
	began                        time.Time
	wrote                        time.Time     // the last block, or the start
	timeout                      time.Duration // from wrote
	completed                    time.Time     // CompleteSnapshot was called, or a copy ends; zero: it is written
	written                      map[int][]byte
	from                         *snapshot // blocks that are not written are its
}

func (s *Server) status(n *snapshot) string {
	now := time.Now()
	switch {
	case !n.completed.IsZero() && now.After(n.completed):
		return "completed"
	case n.completed.IsZero() && now.After(n.wrote.Add(n.timeout)):
		return "error"
	}
	return "pending"
}

// block is what is at an index, nil for nothing.
func (n *snapshot) block(index int) []byte {
	for ; n != nil; n = n.from {
		if b, ok := n.written[index]; ok {
			return b
		}
	}
	return nil
}

// indexes are those of all blocks, in order.
func (n *snapshot) indexes() []int {
	seen := map[int]bool{}
	var all []int
	for ; n != nil; n = n.from {
		for i := range n.written {
			if !seen[i] {
				seen[i] = true
				all = append(all, i)
			}
		}
	}
	slices.Sort(all)
	return all
}

func noSnapshot(id string) *Fault {
	return &Fault{http.StatusBadRequest, "InvalidSnapshot.NotFound", "The snapshot '" + id + "' does not exist."}
}

type snapshotItem struct {
	ID          string `xml:"snapshotId"`
	Volume      string `xml:"volumeId"`
	Status      string `xml:"status"`
	Start       string `xml:"startTime"`
	Progress    string `xml:"progress"`
	Owner       string `xml:"ownerId"`
	Size        int64  `xml:"volumeSize"`
	Description string `xml:"description"`
	Encrypted   bool   `xml:"encrypted"`
	Tier        string `xml:"storageTier"`
	Tags        []tag  `xml:"tagSet>item"`
}

func describeSnapshots(q *request) (any, *Fault) {
	ids, owners := q.list("SnapshotId"), q.list("Owner")
	filters, f := q.filters("Filter", ".Value", "status", "snapshot-id", "owner-id", "description", "encrypted", "volume-size")
	if f != nil {
		return nil, f
	}
	page, f := q.pageBut(len(ids) > 0, "SnapshotIds")
	if f != nil {
		return nil, f
	}
	if f := q.unread(); f != nil {
		return nil, f
	}
	for _, id := range ids {
		if n := q.region.snapshots[id]; n == nil || q.unseen(n.began) {
			return nil, noSnapshot(id)
		}
	}
	var found []snapshotItem
	for id, n := range q.region.snapshots {
		if q.unseen(n.began) || len(ids) > 0 && !slices.Contains(ids, id) || len(owners) > 0 && !owned(owners) {
			continue
		}
		status := q.status(n)
		ok := pass(filters, &n.tagged, map[string]string{"status": status, "snapshot-id": id, "owner-id": Account,
			"description": n.description, "encrypted": strconv.FormatBool(n.encrypted), "volume-size": strconv.FormatInt(n.gib, 10)})
		if ok {
			found = append(found, snapshotItem{ID: id, Volume: "vol-ffffffff", Status: status, Start: n.began.UTC().Format(time.RFC3339),
				Progress: map[string]string{"completed": "100%"}[status], Owner: Account, Size: n.gib, Description: n.description,
				Encrypted: n.encrypted, Tier: "standard", Tags: n.tagList()})
		}
	}
	slices.SortFunc(found, func(a, b snapshotItem) int { return strings.Compare(a.ID, b.ID) })
	shown, next := paged(found, page)
	return struct {
		Items []snapshotItem `xml:"snapshotSet>item"`
		Next  string         `xml:"nextToken,omitempty"`
	}{shown, next}, nil
}

func deleteSnapshot(q *request) (any, *Fault) {
	id := q.get("SnapshotId")
	if f := q.unread(); f != nil {
		return nil, f
	}
	n := q.region.snapshots[id]
	if n == nil {
		return nil, noSnapshot(id)
	}
	for _, i := range q.region.images {
		if i.snapshot == id {
			return nil, &Fault{http.StatusBadRequest, "InvalidSnapshot.InUse", "The snapshot " + id + " is currently in use by " + i.id}
		}
	}
	delete(q.region.snapshots, id)
	return nil, nil
}

// unseen is whether what was made then is not found yet.
func (s *Server) unseen(made time.Time) bool { return time.Since(made) < s.opts.Lag }

func owned(owners []string) bool {
	return slices.Contains(owners, "self") || slices.Contains(owners, Account)
}

// page is where an answer begins, and how many it has.
type page struct{ from, most int }

// page reads MaxResults (5 to 1,000, which is also what there is without) and NextToken.
func (q *request) page() (page, *Fault) { return q.pageOf("MaxResults", 5, 1000, 1000) }

// pageOf reads how many a page has, by a parameter with a least and a most value and a default, and NextToken.
func (q *request) pageOf(parameter string, least, most, normally int) (page, *Fault) {
	p := page{most: normally}
	if v := q.get(parameter); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < least {
			return p, &Fault{http.StatusBadRequest, "InvalidParameterValue", "Value ( " + v + " ) for parameter " + parameter + " is invalid."}
		}
		p.most = min(n, most)
	}
	if v := q.get("NextToken"); v != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(v, "after-"))
		if err != nil {
			return p, &Fault{http.StatusBadRequest, "InvalidNextToken", "The specified token is not valid"}
		}
		p.from = n
	}
	return p, nil
}

// pageBut is page, of a request that may not have MaxResults with a list of ids.
func (q *request) pageBut(listed bool, ids string) (page, *Fault) {
	if listed && q.form.Get("MaxResults") != "" {
		return page{}, &Fault{http.StatusBadRequest, "InvalidParameterCombination", "The parameter " + ids + " cannot be used with the parameter maxResults"}
	}
	return q.page()
}

func paged[T any](all []T, p page) (shown []T, next string) {
	from := min(p.from, len(all))
	to := min(from+p.most, len(all))
	if to < len(all) {
		next = "after-" + strconv.Itoa(to)
	}
	return all[from:to], next
}

// Age makes all images and snapshots older.
func (s *Server) Age(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		for _, i := range r.images {
			i.began = i.began.Add(-by)
		}
		for _, n := range r.snapshots {
			n.began = n.began.Add(-by)
		}
	}
}

// Expire lets the time of all snapshots pass that nobody completed: they end in error.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		for _, n := range r.snapshots {
			n.timeout = -time.Second
		}
	}
}
