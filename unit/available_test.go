package unit_test

import (
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestMinAvailable_Refused(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"web.service", "1", "web.service:2: MinAvailable= counts instances of a template, and web.service is none; take it out, or make a template of the unit, such as web@.service"},
		{"web@1.service", "-1", "web@1.service:2: MinAvailable=-1 is no number of instances; give a whole number up to 100000, or a share such as 50%"},
		{"web@1.service", "101%", "web@1.service:2: MinAvailable=101% is no number of instances; give a whole number up to 100000, or a share such as 50%"},
		{"web@1.service", "100001", "web@1.service:2: MinAvailable=100001 is no number of instances; give a whole number up to 100000, or a share such as 50%"},
		{"web@1.service", "%", "web@1.service:2: MinAvailable=% is no number of instances; give a whole number up to 100000, or a share such as 50%"},
		{"web@1.service", "half", "web@1.service:2: MinAvailable=half is no number of instances; give a whole number up to 100000, or a share such as 50%"},
		{"web@1.service", "1 2", "web@1.service:2: MinAvailable= has 2 words; give one"},
		{"web@1.service", "1\nGlobal=yes", "web@1.service:3: Global= in line 3 and MinAvailable= in line 2 can't hold together; take one of them out"},
	} {
		if got := options(unit.Name(tt.name), "[X-Cluster]\nMinAvailable="+tt.value+"\n"); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.value, got, tt.want)
		}
	}
}

func TestAvailable_Of(t *testing.T) {
	for _, tt := range []struct {
		available    unit.Available
		wanted, want int
	}{
		{unit.Available{}, 5, 0},
		{unit.Available{Count: 2}, 5, 2},
		{unit.Available{Count: 9}, 5, 9},
		{unit.Available{Percent: 50}, 3, 2},
		{unit.Available{Percent: 50}, 4, 2},
		{unit.Available{Percent: 1}, 1, 1},
		{unit.Available{Percent: 100}, 7, 7},
		{unit.Available{Percent: 34}, 3, 2},
		{unit.Available{Percent: 33}, 3, 1},
		{unit.Available{Percent: 50}, 0, 0},
	} {
		if got := tt.available.Of(tt.wanted); got != tt.want {
			t.Errorf("%v of %d: got %d, want %d", tt.available, tt.wanted, got, tt.want)
		}
	}
}
