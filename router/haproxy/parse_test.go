package haproxy

import (
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

const procText = `#<PID>          <type>          <reloads>       <uptime>        <version>      
1162            master          5 [failed: 2]   0d00h02m07s     2.6.12-1+deb12u4
# workers
1271            worker          1               0d00h00m00s     2.6.12-1+deb12u4
# old workers
1233            worker          3               0d00h00m43s     2.5.0
1230            worker          4               0d00h00m44s     2.5.0
# programs
1244            foo             0               0d00h00m00s     -

`

const statText = `# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,addr,
own,BACKEND,0,0,0,1,,5,332,632,,0,,0,0,0,1,UP,1,1,0,1,1,22,2,,1,3,1,,5,,1,0,,3,L4OK,,0,0,4,0,0,0,0,1,,,4,0,0,,
release:x:1,s1,1,0,2,1,,5,332,632,,0,,3,4,5,6,"DOWN 1/2",1,1,0,1,1,22,2,,1,3,1,,5,,2,0,,3,L4OK,,0,0,4,0,0,7,0,1,,,4,0,8,127.0.0.1:19001,

`

func TestParseProcesses(t *testing.T) {
	p, err := parseProcesses(procText)
	if err != nil || p.master != 1162 || p.reloads != 5 || p.failed != 2 || p.current != 1271 || !slices.Equal(p.old, []int{1233, 1230}) || p.version != "2.6.12-1+deb12u4" {
		t.Errorf("%+v, %v", p, err)
	}
	if !slices.Equal(p.workers(), []int{1271, 1233, 1230}) {
		t.Errorf("workers %v", p.workers())
	}
	for version, ok := range map[string]bool{"2.6.12-1+deb12u4": true, "2.6.0": true, "2.10-dev3": true, "3.0.5": true, "2.5.9": false, "1.9": false, "2": false, "": false} {
		if err := (processes{version: version}).modern(); (err == nil) != ok || err != nil && !fault.Is(err, fault.Unsupported) {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestParseStat(t *testing.T) {
	rows, err := parseStat(statText)
	want := row{proxy: "release:x:1", server: "s1", kind: kindServer, id: "3.1", status: "DOWN 1/2", address: "127.0.0.1:19001", current: 2, queued: 1, quiet: 22e9,
		count: counters{total: 5, status5x: 7, connect: 3, response: 4, retries: 5, moved: 6, cut: 8}}
	if err != nil || len(rows) != 1 || rows[0] != want {
		t.Errorf("%+v, %v", rows, err)
	}
	if !rows[0].down() || rows[0].left() || rows[0].out() || !rows[0].busy() {
		t.Errorf("%+v", rows[0])
	}
}

func TestParseOthers(t *testing.T) {
	lines, err := parseMap("0x1 v 1.2 abc\n0x2 h|1|*/ R\n\n")
	if err != nil || lines["v"] != "1.2 abc" || lines["h|1|*/"] != "R" || len(lines) != 2 {
		t.Errorf("%v, %v", lines, err)
	}
	maps := "# id (file) description\n0 (/etc/haproxy/own.map) pattern loaded\n4 (/r/release-1.2-ab.map) pattern loaded from file '/r/release-1.2-ab.map' used by map\n\n"
	if got := mapNamed(maps, "/r"); got != "/r/release-1.2-ab.map" {
		t.Errorf("map %q", got)
	}
	if got := mapNamed(maps, "/other"); got != "" {
		t.Errorf("map %q of another folder", got)
	}
	streams := parseStreams("0x55: proto=tcpv4 src=127.0.0.1:1 fe=f be=release:x:1 srv=s1 ts=00 age=1s\n0x56: proto=unix_stream fe=GLOBAL be=<NONE> srv=<none>\n")
	if len(streams) != 1 || streams[0] != (stream{"0x55", "release:x:1", "s1"}) {
		t.Errorf("%+v", streams)
	}
	cells := parseTable("# table: release:latency, type: string, size:1048576, used:2\n0x7f: key=3.1.12 use=0 exp=0 shard=0 gpc0=17\n0x7e: key=3.1.0 use=0 exp=0 gpc0=1\n", "gpc0")
	h := histograms(cells)["3.1"]
	if len(h.Counts) != len(router.LatencyBounds())+1 || h.Counts[12] != 17 || h.Counts[0] != 1 || h.Sum < 17*0.05 || h.Sum > 18*0.065 {
		t.Errorf("%+v", h)
	}
	if v, sum := versionIn(`type=str, case=sensitive, found=yes, idx=tree, key="v", value="3.17 abc", type="str"`); v != (router.Version{Epoch: 3, Seq: 17}) || sum != "abc" {
		t.Errorf("version %v %q", v, sum)
	}
	for said, want := range map[string][]string{
		"a\n\nb\nc\n\n": {"a\n", "b\nc\n"}, "\n": {""}, "a\n\n\n\nb\n\n": {"a\n", "", "", "b\n"}, "a\n\nb\n": {"a\n"}, "a": nil, "": nil,
	} {
		if got := splitAnswers(said); !slices.Equal(got, want) {
			t.Errorf("answers in %q: %q, want %q", said, got, want)
		}
	}
	if got := mapOf("x map_str('/r/release-3.map')", "/r"); got != "/r/release-3.map" {
		t.Errorf("map of a configuration %q", got)
	}
}

// FuzzAnswers: whatever answers at the socket, reading it ends, without a panic.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{procText, statText, "0x1 v 1.2 abc\n0x2 t|0 H4sIAAAA\n0x3 a|r|1 f\n0x4 c|r|0 {}\n0x5 n|b/s {\"fleet\":\"f\"}\n", "0x7f: key=3.1.12 use=0 gpc0=17\n", "0x55: be=release:x srv=s1\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseProcesses(text); err == nil {
			_ = p.modern()
		}
		if rows, err := parseStat(text); err == nil {
			l := newLayout()
			l.place(rows)
			table := everything().Canonical()
			_ = arrange(&l, table).moves(&l, true)
		}
		if lines, err := parseMap(text); err == nil {
			if n, err := readNotes(lines); err == nil {
				if table, err := n.table(); err == nil && table.Validate() != nil {
					t.Error("a table was unpacked that is not valid")
				}
			}
		}
		parseStreams(text)
		histograms(parseTable(text, "gpc0"))
		versionIn(text)
		splitAnswers(text)
		mapNamed(text, "/r")
		mapOf(text, "/r")
	})
}

// FuzzConfiguration: whatever a route's texts are, they stay words of the configuration and never become others.
func FuzzConfiguration(f *testing.F) {
	f.Add("X-Team", "it's", "beta", "1", "/a", "r1")
	f.Add("X-Team", "a\nb", "be\\ta", "\" $HOME `id` #", "/it's ${x}/%20", "r 1")
	f.Fuzz(func(t *testing.T, header, value, cookie, other, path, release string) {
		table := everything()
		r := &table.Routes[0]
		r.Paths = []string{"/" + path}
		r.Rules[0].Headers, r.Rules[0].Cookies, r.Rules[0].Paths = map[string]string{header: value}, map[string]string{cookie: other}, []string{"/" + path}
		r.Fleets[0].Release = release
		if table.Validate() != nil || supports(table) != nil {
			return
		}
		l := newLayout()
		p := arrange(&l, table.Canonical()).anew()
		text := folder{"/r"}.setting().configure(p).text("/r/release-1.map")
		for line := range strings.Lines(text) {
			if words(line) == nil {
				t.Fatalf("a line that does not end as it should: %q", line)
			}
		}
		packed, err := pack(table)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.decide(packed, kept{}) {
			if strings.ContainsAny(e.key, " \t\r\n") || strings.ContainsAny(e.value, "\r\n") {
				t.Fatalf("%q is no entry of a map", e)
			}
		}
	})
}

// words splits a line as HAProxy does, nil if a quote stays open.
func words(line string) []string {
	out := []string{}
	var word strings.Builder
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == '\'' && c != '\'', quote == '"' && c != '"' && c != '\\':
			word.WriteByte(c)
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\':
			i++
		case c == ' ' || c == '\n':
			out = append(out, word.String())
			word.Reset()
		default:
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil
	}
	return out
}
