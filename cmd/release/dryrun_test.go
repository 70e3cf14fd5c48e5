package main

import "testing"

// Every verb that changes what runs can be tried without doing anything.
func TestChangingVerbsHaveADryRun(t *testing.T) {
	only := map[string]string{"plan": "does nothing anyway"}
	for _, verb := range newRoot(&cli{}).Commands() {
		if verb.GroupID == "run" && only[verb.Name()] == "" && verb.Flags().Lookup("dry-run") == nil {
			t.Errorf("release %s has no --dry-run", verb.Name())
		}
	}
}
