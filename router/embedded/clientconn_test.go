package embedded

import "testing"

func TestPipelining(t *testing.T) {
	get := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name  string
		reads []string
		serve int
		want  bool // something waits
	}{
		{"one", []string{get}, 1, false},
		{"two at once", []string{get + get}, 1, true},
		{"two at once, both served", []string{get + get}, 2, false},
		{"the end in pieces", []string{get[:len(get)-3], "\n", "\r", "\n"}, 1, false},
		{"the end in pieces, and more", []string{get[:len(get)-1], "\nG"}, 1, true},
		{"begun", []string{get, "G"}, 1, true},
	}
	for _, tt := range tests {
		c := &clientConn{}
		for _, r := range tt.reads {
			c.saw([]byte(r))
		}
		for range tt.serve {
			c.serve(false)
		}
		if got := c.waits(); got != tt.want {
			t.Errorf("%s: waits %v (%d heads, %d bytes more)", tt.name, got, c.heads, c.rest)
		}
	}
	c := &clientConn{}
	c.saw([]byte("POST / HTTP/1.1\r\n\r\nbody\r\n\r\nmore"))
	c.serve(true)
	if c.waits() {
		t.Error("a body was taken for another request")
	}
}
