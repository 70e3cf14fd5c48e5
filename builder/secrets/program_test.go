package secrets

import (
	"bytes"
	"strings"
	"testing"
)

// TestTextsOfPrograms looks for tokens where texts lie one after the other, as compilers leave them: this program's own list
// of prefixes is no token.
func TestTextsOfPrograms(t *testing.T) {
	prefixes := strings.Join([]string{"gl" + "pat-", "gl" + "ptt-", "gl" + "imt-", "Gl" + "oas-", "sh" + "pat_", "hv" + "s.Next", "shop"}, "")
	others := strings.Join([]string{".git/", "gl" + "pat-", "gl" + "ptt-", "gl" + "imt-", "gl" + "oas-", "gl" + "cbt-", "wh" + "sec_", "shppa_dp.pt.dp.st"}, "")
	vault := "_key-" + "hv" + "s." + "hv" + "b." + "hv" + "r.dapipul-bestFromermsfsrmsse3avx2bmi1bmi2n=%d"
	random := "gl" + "pat-" + "x9K2mQ7vL4pT8wZ1rB6n"
	for text, want := range map[string]int{prefixes: 0, others: 0, vault: 0, random: 1} {
		program := "\x7fELF\x00\x00" + text + "\x00rest"
		found, err := New().File("bin/app", bytes.NewReader([]byte(program)))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != want {
			t.Errorf("%q in a program: %v, want %d findings", text, found, want)
		}
	}
}
