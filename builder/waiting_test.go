package builder_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder"
)

// A server that takes the connection and sends nothing is told while the bake waits for it.
func TestWaitingIsTold(t *testing.T) {
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
				if e.Kind == builder.Note && strings.HasPrefix(e.Line, "waiting for ") && strings.Contains(e.Line, strings.TrimPrefix(server.URL, "http://")) && strings.HasSuffix(e.Line, " since 10 s") {
					cancel(told)
				}
			}}
			began := time.Now()
			if _, err := builder.Bake(ctx, o); err == nil || !errors.Is(context.Cause(ctx), told) || time.Since(began) > 25*time.Second {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
		})
	}
}
