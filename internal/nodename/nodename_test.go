package nodename

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

func TestFind(t *testing.T) {
	nodes := []string{"shop-web-aaaaa", "shop-web-bbbbb", "shop-worker-ccccc", "shop-web"}
	for name, want := range map[string]int{"shop-web-aaaaa": 0, "shop-web-b": 1, "ccccc": 2, "shop-wo": 2, "shop-web": 3} {
		if i, err := Find("shop/production", name, nodes); err != nil || i != want {
			t.Errorf("%q is node %d: %v", name, i, err)
		}
	}
	for _, name := range []string{"", "aaa", "web", "shop-web-aaaaaa"} {
		want := fmt.Sprintf("shop/production has no node named %q", name)
		if _, err := Find("shop/production", name, nodes[:3]); !fault.Is(err, fault.NotFound) || err.Error() != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFindOneOfSeveral(t *testing.T) {
	_, err := Find("shop/production", "shop", []string{"shop-web-aaaaa", "other", "shop-web-bbbbb"})
	if !fault.Is(err, fault.Invalid) || err.Error() != `"shop" may be any of 2 nodes of shop/production: shop-web-aaaaa, shop-web-bbbbb` ||
		!strings.HasSuffix(fault.All(err)[0].Hint, "such as aaaaa") {
		t.Errorf("%v", err)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("shop-%d", i))
	}
	if _, err = Find("shop/production", "shop", many); !strings.HasSuffix(err.Error(), "any of 1000 nodes of shop/production: "+strings.Join(many[:10], ", ")+", …") {
		t.Errorf("%v", err)
	}
}
