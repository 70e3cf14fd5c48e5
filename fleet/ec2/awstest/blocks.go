package awstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// startedSnapshot is what a client token of StartSnapshot stands for.
type startedSnapshot struct{ body, id string }

// blocks answers the EBS direct APIs.
func (s *Server) blocks(w http.ResponseWriter, r *http.Request, region string) {
	body, err := io.ReadAll(io.LimitReader(r.Body, blockSize+1))
	if err != nil {
		return // the client is gone
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/snapshots"), "/") // "" first
	call := blockCall{w: w, r: r, body: body, query: r.URL.Query()}
	var do func(blockCall) *blockFault
	c := Call{Service: "ebs", Region: region, Params: call.query}
	switch m := r.Method; {
	case m == http.MethodPost && len(parts) == 1:
		c.Action, do = "StartSnapshot", s.startSnapshot
	case m == http.MethodPost && len(parts) == 3 && parts[1] == "completion":
		c.Action, do, call.id = "CompleteSnapshot", s.completeSnapshot, parts[2]
	case m == http.MethodPut && len(parts) == 4 && parts[2] == "blocks":
		c.Action, do, call.id, call.index = "PutSnapshotBlock", s.putSnapshotBlock, parts[1], parts[3]
	case m == http.MethodGet && len(parts) == 4 && parts[2] == "blocks":
		c.Action, do, call.id, call.index = "GetSnapshotBlock", s.getSnapshotBlock, parts[1], parts[3]
	case m == http.MethodGet && len(parts) == 3 && parts[2] == "blocks":
		c.Action, do, call.id = "ListSnapshotBlocks", s.listSnapshotBlocks, parts[1]
	case m == http.MethodGet && len(parts) == 3 && parts[2] == "changedblocks":
		c.Action, do, call.id = "ListChangedBlocks", s.listChangedBlocks, parts[1]
	default:
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.begin(c); f != nil {
		(&blockFault{f.Status, f.Code, "", f.Message}).write(w)
		return
	}
	call.region = s.region(region)
	if f := do(call); f != nil {
		f.write(w)
	}
}

// blockCall is one request, with the server's lock held.
type blockCall struct {
	w         http.ResponseWriter
	r         *http.Request
	region    *region
	id, index string
	body      []byte
	query     url.Values
}

// blockFault is an error as the EBS direct APIs write it.
type blockFault struct {
	status                int
	code, reason, message string
}

func (f *blockFault) write(w http.ResponseWriter) {
	w.Header().Set("X-Amzn-ErrorType", f.code)
	answer(w, f.status, map[string]string{"Message": f.message, "Reason": f.reason})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func invalid(reason, format string, args ...any) *blockFault {
	return &blockFault{http.StatusBadRequest, "ValidationException", reason, fmt.Sprintf(format, args...)}
}

func (s *Server) startSnapshot(c blockCall) *blockFault {
	var in struct {
		VolumeSize                                            int64
		ParentSnapshotId, ClientToken, Description, KmsKeyArn string
		Encrypted                                             bool
		Timeout                                               int
		Tags                                                  []struct{ Key, Value string }
	}
	decoder := json.NewDecoder(bytes.NewReader(c.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return invalid("INVALID_PARAMETER_VALUE", "%v", err)
	}
	if before, ok := c.region.started[in.ClientToken]; ok {
		if before.body != string(c.body) {
			return &blockFault{http.StatusServiceUnavailable, "ConflictException", "", "The client token was used with other parameters"}
		}
		answer(c.w, http.StatusCreated, map[string]any{"SnapshotId": before.id, "Status": "pending", "BlockSize": blockSize, "VolumeSize": in.VolumeSize})
		return nil
	}
	n := &snapshot{id: s.id("snap"), parent: in.ParentSnapshotId, description: in.Description, gib: in.VolumeSize, encrypted: in.Encrypted, key: in.KmsKeyArn,
		began: time.Now(), wrote: time.Now(), timeout: time.Hour, written: map[int][]byte{}}
	switch parent := c.region.snapshots[in.ParentSnapshotId]; {
	case in.VolumeSize < 1 || in.VolumeSize > 65536:
		return invalid("INVALID_VOLUME_SIZE", "volume size %d is not from 1 to 65536 GiB", in.VolumeSize)
	case in.Timeout != 0 && (in.Timeout < 10 || in.Timeout > 60):
		return invalid("INVALID_PARAMETER_VALUE", "timeout %d is not from 10 to 60 minutes", in.Timeout)
	case in.ClientToken == "" || len(in.ClientToken) > 255:
		return invalid("INVALID_PARAMETER_VALUE", "no client token, or a long one")
	case in.ParentSnapshotId == "":
	case in.Encrypted || in.KmsKeyArn != "":
		return invalid("INVALID_PARAMETER_VALUE", "encryption and a parent are given")
	case parent == nil:
		return &blockFault{http.StatusNotFound, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", "The snapshot '" + in.ParentSnapshotId + "' does not exist."}
	case s.status(parent) != "completed":
		return invalid("INVALID_SNAPSHOT_ID", "the parent is not completed")
	case in.VolumeSize < parent.gib:
		return invalid("INVALID_VOLUME_SIZE", "the volume is smaller than the parent's")
	default:
		n.encrypted, n.key = parent.encrypted, parent.key
		if !s.opts.BareChildren {
			n.from = parent
		}
	}
	if in.Timeout != 0 {
		n.timeout = time.Duration(in.Timeout) * time.Minute
	}
	for _, t := range in.Tags {
		n.setTag(t.Key, t.Value)
	}
	c.region.snapshots[n.id] = n
	c.region.started[in.ClientToken] = startedSnapshot{string(c.body), n.id}
	answer(c.w, http.StatusCreated, map[string]any{"SnapshotId": n.id, "OwnerId": Account, "Status": "pending", "StartTime": n.began.Unix(),
		"VolumeSize": n.gib, "BlockSize": blockSize, "ParentSnapshotId": n.parent, "Tags": in.Tags, "Description": n.description})
	return nil
}

// snapshotOf finds what a request is about, in a state that fits.
func (s *Server) snapshotOf(c blockCall, id, want string) (*snapshot, *blockFault) {
	n := c.region.snapshots[id]
	if n == nil {
		return nil, &blockFault{http.StatusNotFound, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", "The snapshot '" + id + "' does not exist."}
	}
	status := s.status(n)
	if status != want || want == "pending" && !n.completed.IsZero() {
		return nil, invalid("INVALID_SNAPSHOT_ID", "the snapshot %s is %s", id, status)
	}
	return n, nil
}

func (s *Server) putSnapshotBlock(c blockCall) *blockFault {
	n, f := s.snapshotOf(c, c.id, "pending")
	if f != nil {
		return f
	}
	index, err := strconv.Atoi(c.index)
	h := c.r.Header
	sum := sha256.Sum256(c.body)
	switch {
	case err != nil || index < 0 || int64(index) >= n.gib<<30/blockSize:
		return invalid("INVALID_BLOCK", "block %s is not in the volume", c.index)
	case h.Get("x-amz-Data-Length") != strconv.Itoa(blockSize) || len(c.body) != blockSize:
		return invalid("INVALID_PARAMETER_VALUE", "a block has %d bytes, not %d", blockSize, len(c.body))
	case h.Get("x-amz-Checksum-Algorithm") != "SHA256" || h.Get("x-amz-Checksum") != base64.StdEncoding.EncodeToString(sum[:]):
		return invalid("INVALID_PARAMETER_VALUE", "the checksum is not that of the data")
	}
	n.written[index], n.wrote = c.body, time.Now()
	c.w.Header().Set("x-amz-Checksum", h.Get("x-amz-Checksum"))
	c.w.Header().Set("x-amz-Checksum-Algorithm", "SHA256")
	answer(c.w, http.StatusCreated, struct{}{})
	return nil
}

func (s *Server) completeSnapshot(c blockCall) *blockFault {
	n, f := s.snapshotOf(c, c.id, "pending")
	if f != nil {
		return f
	}
	h := c.r.Header
	if got := h.Get("x-amz-ChangedBlocksCount"); got != strconv.Itoa(len(n.written)) {
		return invalid("INVALID_PARAMETER_VALUE", "%d blocks were written, not %s", len(n.written), got)
	}
	if want := h.Get("x-amz-Checksum"); want != "" {
		if h.Get("x-amz-Checksum-Algorithm") != "SHA256" || h.Get("x-amz-Checksum-Aggregation-Method") != "LINEAR" {
			return invalid("INVALID_PARAMETER_VALUE", "the algorithm is not SHA256 or the aggregation not LINEAR")
		}
		if got := linear(n.written); got != want {
			return invalid("INVALID_PARAMETER_VALUE", "the checksum of the blocks is %s, not %s", got, want)
		}
	}
	n.completed = time.Now().Add(s.opts.Takes)
	answer(c.w, http.StatusAccepted, map[string]string{"Status": "pending"})
	return nil
}

// linear is the checksum of the checksums, in order of the blocks.
func linear(blocks map[int][]byte) string {
	all := sha256.New()
	for _, i := range (&snapshot{written: blocks}).indexes() {
		sum := sha256.Sum256(blocks[i])
		all.Write(sum[:])
	}
	return base64.StdEncoding.EncodeToString(all.Sum(nil))
}
