package placement

import "testing"

func TestWish(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "it is granted where rules allow",
			given: `machine m1
machine m2
unit a.service on m1 wish m2`,
			want: "a.service off m1, on m2",
		},
		{
			name: "not where they don't",
			given: `machine m1
machine m2 cordoned
unit a.service on m1 wish m2`,
		},
		{
			name: "one that has to leave anyway goes elsewhere then",
			given: `machine m1 drained
machine m2 cordoned
machine m3
unit a.service on m1 wish m2`,
			want: "a.service off m1, on m3",
		},
		{
			name: "it counts for more than what is better by scores",
			given: `machine m1
machine m2
unit b.service on m2
unit a.service wish m2`,
			want: "a.service on m2",
		},
		{
			name: "what follows the unit follows it there",
			given: `machine m1
machine m2
unit a.service on m1 wish m2
unit b.service on m1 with a.service`,
			want: `a.service off m1, on m2
b.service off m1, on m2`,
		},
	})
}

func TestMinAvailable(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "as many move at a time as may be missing",
			given: `machine m1 drained
machine m2
unit w@1.service on m1 least 1 up
unit w@2.service on m1 least 1 up
unit w@3.service on m1 least 1 up`,
			want: `w@1.service off m1, on m2
w@2.service off m1, on m2
w@3.service MinAvailable=1 keeps it for now: 1 of 3 of w@.service are active`,
		},
		{
			name: "templates of one name and other types count by themselves",
			given: `machine m1 drained
machine m2
unit w@1.service on m1 least 1 up
unit w@1.socket on m1 up`,
			want: `w@1.service MinAvailable=1 keeps it, and 1 of w@.service are to run: one more is needed: clusterctl scale w@.service 2
w@1.socket off m1, on m2`,
		},
		{
			name: "a rule that says no doesn't wait",
			given: `machine m1 rack=2
machine m2 rack=1
unit w@1.service on m1 least 1 up needs rack=1`,
			want: "w@1.service off m1, on m2",
		},
	})
}
