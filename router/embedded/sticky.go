package embedded

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/http1"
)

// A sticky cookie is base64url of
//
//	client  8 bytes, random, for life
//	fleet   8 bytes, hash of the id of the fleet that answered last
//	issued  4 bytes, Unix seconds, big endian
//	mac     16 bytes of HMAC-SHA-256 over what is before, with the route's key
const (
	cookieData = 20
	cookieSize = cookieData + 16
)

// sticky is a route's router.Sticky, ready to use.
type sticky struct {
	router.Sticky
	key []byte
}

func newSticky(s *router.Sticky) *sticky {
	if s == nil {
		return nil
	}
	key, _ := hex.DecodeString(s.Key) // the table was validated
	return &sticky{*s, key}
}

// visitor is what makes a client the same one, as one request shows it.
type visitor struct {
	known  bool   // else the request is split by itself
	id     uint64 // what the fleets are drawn by
	fleet  uint64 // hash of the fleet that its cookie names; 0: none
	issued int64  // of the cookie, Unix seconds; 0: none came
}

// visitor reads the client out of a request. A client without a cookie gets a new identity, which its answer tells it.
func (s *sticky) visitor(req *http1.Head, client netip.Addr) visitor {
	switch s.By {
	case router.StickyHeader:
		value, found := headerValue(req, s.Header)
		return visitor{known: found, id: hashBytes(value)}
	case router.StickyAddress:
		if client.Is6() {
			client = netip.PrefixFrom(client, 64).Masked().Addr()
		}
		a := client.As16()
		return visitor{known: true, id: hashBytes(a[:])}
	}
	if text, found := cookie(req, s.Cookie); found {
		if v, ok := s.open(text); ok {
			return v
		}
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return visitor{known: true, id: binary.BigEndian.Uint64(b[:])}
}

func headerValue(req *http1.Head, name string) ([]byte, bool) {
	for i := range req.Fields {
		if f := &req.Fields[i]; len(f.Name) == len(name) && strings.EqualFold(view(f.Name), name) {
			return f.Value, len(f.Value) > 0
		}
	}
	return nil, false
}

// open reads a cookie that this key has signed.
func (s *sticky) open(text []byte) (visitor, bool) {
	var b [cookieSize + 3]byte
	if base64.RawURLEncoding.DecodedLen(len(text)) != cookieSize {
		return visitor{}, false
	}
	if n, err := base64.RawURLEncoding.Decode(b[:], text); err != nil || n != cookieSize {
		return visitor{}, false
	}
	if subtle.ConstantTimeCompare(s.mac(b[:cookieData]), b[cookieData:cookieSize]) != 1 {
		return visitor{}, false
	}
	return visitor{
		known: true, id: binary.BigEndian.Uint64(b[:]), fleet: binary.BigEndian.Uint64(b[8:]), issued: int64(binary.BigEndian.Uint32(b[16:])),
	}, true
}

func (s *sticky) mac(data []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write(data)
	return m.Sum(nil)[:cookieSize-cookieData]
}

// setCookie is the value of the Set-Cookie that the client needs, or "": its cookie names the fleet and is fresh enough.
func (s *sticky) setCookie(v visitor, fleet uint64, now time.Time, secure bool) string {
	age := now.Unix() - v.issued
	if s.By != router.StickyCookie || !v.known || v.fleet == fleet && v.issued > 0 && (s.MaxAge == 0 || age < int64(s.MaxAge.Seconds()/2)) {
		return ""
	}
	var b [cookieSize]byte
	binary.BigEndian.PutUint64(b[:], v.id)
	binary.BigEndian.PutUint64(b[8:], fleet)
	binary.BigEndian.PutUint32(b[16:], uint32(now.Unix()))
	copy(b[cookieData:], s.mac(b[:cookieData]))
	text := s.Cookie + "=" + base64.RawURLEncoding.EncodeToString(b[:]) + "; Path=/; HttpOnly; SameSite=Lax"
	if secure {
		text += "; Secure"
	}
	if s.MaxAge > 0 {
		text += "; Max-Age=" + itoa(int64(s.MaxAge.Seconds()))
	}
	return text
}

// prefer is the index of the client's fleet: of all weighted ones the one with the largest -weight/ln(h), h being a hash of
// client and fleet in (0, 1). A fleet whose weight grows takes clients from those that shrink, and nobody else moves.
// [Schindelhauer, Schomaker: Weighted Distributed Hash Tables, SPAA 2005]
func prefer(weighted []*target, id uint64) int {
	best, at := math.Inf(-1), 0
	for i, t := range weighted {
		h := (float64(mix(id^t.seed)>>11) + 0.5) / (1 << 53)
		if score := -t.weight / math.Log(h); score > best {
			best, at = score, i
		}
	}
	return at
}

// mix is the finalizer of SplitMix64. [Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014]
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// hashBytes is the same at every edge and in every process.
func hashBytes(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}
