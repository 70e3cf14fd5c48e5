package local

import "testing"

func TestSlotOutsideOfThePortRange(t *testing.T) {
	p := Ports{First: 20_000, Count: 10}
	for slot, ok := range map[int]bool{0: true, 9: true, 10: false, -1: false} {
		if _, _, err := p.Place(slot, 0); (err == nil) != ok {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
	if port, address, err := p.Place(3, 8080); err != nil || port != 20_003 || address != "127.0.0.1:20003" {
		t.Errorf("%d %s %v", port, address, err)
	}
}
