package console

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/bootandshoot/release/orchestrator"
)

// Whatever is kept of what was asked is told too.
func TestArgumentsAreToldWhole(t *testing.T) {
	kept := orchestrator.Arguments{Image: "i", Release: "r8", Percent: 10, Size: 2, Role: "web", Nodes: []string{"n"}, Force: true, KeepFailed: true,
		Config: "c", For: 90 * time.Second, End: true, Volumes: true}
	for i := range reflect.ValueOf(kept).NumField() {
		if reflect.ValueOf(kept).Field(i).IsZero() {
			t.Fatalf("%s is not in this test", reflect.TypeFor[orchestrator.Arguments]().Field(i).Name)
		}
	}
	text, err := json.Marshal(argumentsOf(&kept))
	if err != nil {
		t.Fatal(err)
	}
	var told map[string]any
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	if len(told) != reflect.ValueOf(kept).NumField() || told["for"] != 90.0 {
		t.Errorf("told is %s", text)
	}
}
