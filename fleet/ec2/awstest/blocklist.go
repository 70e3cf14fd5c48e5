package awstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) getSnapshotBlock(c blockCall) *blockFault {
	n, f := s.snapshotOf(c, c.id, "completed")
	if f != nil {
		return f
	}
	index, err := strconv.Atoi(c.index)
	if err != nil || n.block(index) == nil {
		return invalid("INVALID_BLOCK", "block %s is not in the snapshot", c.index)
	}
	if c.query.Get("blockToken") != blockToken(n, index) {
		return invalid("INVALID_BLOCK_TOKEN", "the token is not that of block %d", index)
	}
	block := n.block(index)
	sum := sha256.Sum256(block)
	c.w.Header().Set("x-amz-Data-Length", strconv.Itoa(blockSize))
	c.w.Header().Set("x-amz-Checksum", base64.StdEncoding.EncodeToString(sum[:]))
	c.w.Header().Set("x-amz-Checksum-Algorithm", "SHA256")
	c.w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = c.w.Write(block)
	return nil
}

func blockToken(n *snapshot, index int) string {
	sum := sha256.Sum256(fmt.Append(nil, n.id, index))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// blocksOf pages through blocks as the lists do: maxResults from 100 to 10,000.
func blocksOf(c blockCall, all []int) (shown []int, next string, f *blockFault) {
	p := page{most: 10000}
	if v := c.query.Get("maxResults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 100 || n > 10000 {
			return nil, "", invalid("INVALID_PARAMETER_VALUE", "maxResults %s is not from 100 to 10000", v)
		}
		p.most = n
	}
	if v := c.query.Get("startingBlockIndex"); v != "" && c.query.Get("pageToken") == "" {
		from, _ := strconv.Atoi(v)
		all = slices.DeleteFunc(all, func(i int) bool { return i < from })
	}
	if v := c.query.Get("pageToken"); v != "" {
		from, err := strconv.Atoi(strings.TrimPrefix(v, "after-"))
		if err != nil {
			return nil, "", invalid("INVALID_PAGE_TOKEN", "the token is not valid")
		}
		p.from = from
	}
	shown, next = paged(all, p)
	return shown, next, nil
}

func (s *Server) listSnapshotBlocks(c blockCall) *blockFault {
	n, f := s.snapshotOf(c, c.id, "completed")
	if f != nil {
		return f
	}
	shown, next, f := blocksOf(c, n.indexes())
	if f != nil {
		return f
	}
	list := []map[string]any{}
	for _, i := range shown {
		list = append(list, map[string]any{"BlockIndex": i, "BlockToken": blockToken(n, i)})
	}
	listed(c, n, "Blocks", list, next)
	return nil
}

func (s *Server) listChangedBlocks(c blockCall) *blockFault {
	second, f := s.snapshotOf(c, c.id, "completed")
	if f != nil {
		return f
	}
	var first *snapshot
	if id := c.query.Get("firstSnapshotId"); id != "" {
		if first, f = s.snapshotOf(c, id, "completed"); f != nil {
			return f
		}
		if !related(first, second) {
			return invalid("UNRELATED_SNAPSHOTS", "%s and %s are not of one lineage", id, c.id)
		}
	}
	var changed []int
	for _, i := range second.indexes() {
		if !bytes.Equal(first.block(i), second.block(i)) {
			changed = append(changed, i)
		}
	}
	shown, next, f := blocksOf(c, changed)
	if f != nil {
		return f
	}
	list := []map[string]any{}
	for _, i := range shown {
		block := map[string]any{"BlockIndex": i, "SecondBlockToken": blockToken(second, i)}
		if first.block(i) != nil {
			block["FirstBlockToken"] = blockToken(first, i)
		}
		list = append(list, block)
	}
	listed(c, second, "ChangedBlocks", list, next)
	return nil
}

func related(first, second *snapshot) bool {
	for n := second; n != nil; n = n.from {
		if n == first {
			return true
		}
	}
	return false
}

func listed(c blockCall, n *snapshot, name string, list any, next string) {
	out := map[string]any{name: list, "VolumeSize": n.gib, "BlockSize": blockSize, "ExpiryTime": time.Now().Add(time.Hour).Unix()}
	if next != "" {
		out["NextToken"] = next
	}
	answer(c.w, http.StatusOK, out)
}
