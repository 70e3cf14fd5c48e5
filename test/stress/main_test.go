package stress

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/bootandshoot/release/router/embedded"
)

// asRouter as first argument makes the test binary a router process; the folder is the second one.
const asRouter = "router-under-stress"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == asRouter {
		cfg := embedded.Config{Dir: os.Args[2], Version: "stress", Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))}
		if err := embedded.Run(context.Background(), cfg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
