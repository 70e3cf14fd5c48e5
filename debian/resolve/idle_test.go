package resolve

import "testing"

func TestIdlePins(t *testing.T) {
	packages := world(t, `
		suite 0
		apache2 2.4
		nginx 1.22
		libnginx-mod-http 1.22
		suite 1
		nginx 1.22.1
		suite 2
		git 3.0
	`)
	for _, test := range []struct {
		pin   Pin
		why   string
		suite bool
	}{
		{Pin{Package: "nginx", Version: "1.22*"}, "", false},
		{Pin{Package: "nginx", Suite: "stable-security"}, "", false},
		{Pin{Package: "nginx", Suite: "bookworm-security"}, "", false},
		{Pin{Package: "lib*", Suite: "stable"}, "", false},
		{Pin{Package: "*", Suite: "backports"}, "", false},
		{Pin{Package: "*", Version: "3*"}, "", false},
		{Pin{Package: "apahce2", Version: "2*"}, "there is no package apahce2, did you mean apache2?", false},
		{Pin{Package: "postgresql", Version: "2*"}, "there is no package postgresql", false},
		{Pin{Package: "nginx", Version: "1.23*"}, "package nginx has no version 1.23*, only 1.22 (stable), 1.22.1 (stable-security)", false},
		{Pin{Package: "git", Suite: "stable"}, "package git has no version * in stable, only 3.0 (backports)", false},
		{Pin{Package: "lib*", Version: "2*", Suite: "stable"}, "no package lib* has the version 2* in stable", false},
		{Pin{Package: "nginx", Suite: "stable-securty"}, "there is no suite or repository stable-securty, did you mean stable-security?; there are stable, stable-security, backports", true},
	} {
		got := IdlePins([]Pin{{Package: "nginx", Version: "1*"}, test.pin}, packages, testSuites)
		switch {
		case test.why == "" && len(got) > 0, test.why != "" && len(got) != 1:
			t.Errorf("%+v: %+v", test.pin, got)
		case len(got) == 1 && (got[0].Pin != 1 || got[0].Why != test.why || got[0].Suite != test.suite):
			t.Errorf("%+v: %+v, want %q", test.pin, got[0], test.why)
		}
	}
}
