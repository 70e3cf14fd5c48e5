package builder_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder"
)

// A server that takes the connection and sends nothing is told while the bake waits for it.
func TestWaitingIsTold(t *testing.T) {
	waits := regexp.MustCompile(`^waiting for .* since [12][0-9] s$`)
	for name, recipe := range map[string]string{
		"mirror": "base: {debian: bookworm, mirrors: [\"%[1]s/debian\"], security_mirrors: [\"%[1]s/debian\"]}\n",
		"fetch":  "base: scratch\nfetch: [{url: \"%[1]s/x\", to: /x}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done():
				case <-ended:
				}
			}))
			defer server.Close()
			defer close(ended)
			p := newProject(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			told := errors.New("told")
			o := builder.Options{Recipe: p.recipe(fmt.Sprintf(recipe, server.URL)), Store: p.store, Progress: func(e builder.Event) {
				if e.Kind == builder.Note && waits.MatchString(e.Line) && strings.Contains(e.Line, strings.TrimPrefix(server.URL, "http://")) {
					cancel(told)
				}
			}}
			if _, err := builder.Bake(ctx, o); err == nil || !errors.Is(context.Cause(ctx), told) {
				t.Errorf("nothing was told before the bake ended: %v", err)
			}
		})
	}
}
