package placement

import "testing"

func TestA21_Pins(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "a prefix that fits one machine",
			given: `machine abc1
				machine abd2
				unit a.service pinned abd`,
			want: "a.service on abd2",
		},
		{
			name: "a prefix that fits two",
			given: `machine abc1
				machine abd2
				unit a.service pinned ab`,
			want: "a.service no machine fits: MachineID=ab fits other machines, too (abc1, abd2)",
		},
		{
			name: "a prefix that became ambiguous moves nothing",
			given: `machine abc1
				machine abd2
				unit a.service on abd2 pinned ab`,
			want: "",
		},
		{
			name: "a host name goes before a prefix",
			given: `machine ab
				machine abc
				unit a.service pinned ab`,
			want: "a.service on ab",
		},
		{
			name: "a machine that isn't there",
			given: `machine m1
				unit a.service pinned m7`,
			want: "a.service no machine fits: is not MachineID=m7 (m1)",
		},
	})
}

func TestA23_Metadata(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "values of a key are alternatives, keys are not",
			given: `machine m1 region=eu
				machine m2 region=us disk=ssd
				unit a.service needs region=eu needs region=us needs disk=ssd`,
			want: "a.service on m2",
		},
		{
			name: "A-15: the host name is metadata",
			given: `machine m1
				machine m2
				unit a@m2.service needs hostname=m2`,
			want: "a@m2.service on m2",
		},
		{
			name: "A-15: each machine's reason is given",
			given: `machine m1 region=us
				machine m2 region=eu cordoned
				unit a.service needs region=eu`,
			want: "a.service no machine fits: is cordoned (m2); lacks region=eu (m1)",
		},
		{
			name: "operators",
			given: `machine m1 disk=100 region=eu
				machine m2 disk=500 region=us
				machine m3 disk=500
				unit a.service needs disk>200 needs region!=us`,
			want: "a.service on m3",
		},
		{
			name: "an operator's reason",
			given: `machine m1 disk=100
				machine m2 region=us
				unit a.service needs disk>200 needs region!=us`,
			want: "a.service no machine fits: lacks disk>200 (m1, m2); has region=us (m2)",
		},
		{
			name: "metadata that changed moves what no longer fits",
			given: `machine m1 region=us
				machine m2 region=eu
				unit a.service on m1 needs region=eu`,
			want: "a.service off m1, on m2",
		},
	})
}

func TestA19_Conflicts(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "five on three machines",
			given: `machine m1
				machine m2
				machine m3
				unit c@1.service conflicts c@*.service
				unit c@2.service conflicts c@*.service
				unit c@3.service conflicts c@*.service
				unit c@4.service conflicts c@*.service
				unit c@5.service conflicts c@*.service`,
			want: "c@1.service on m1\nc@2.service on m2\nc@3.service on m3\n" +
				"c@4.service no machine fits: runs the conflicting c@1.service (m1); runs the conflicting c@2.service (m2); runs the conflicting c@3.service (m3)\n" +
				"c@5.service no machine fits: runs the conflicting c@1.service (m1); runs the conflicting c@2.service (m2); runs the conflicting c@3.service (m3)",
		},
		{
			name: "one way binds both",
			given: `machine m1
				unit a.service on m1 conflicts hello.service
				unit hello.service`,
			want: "hello.service no machine fits: runs the conflicting a.service (m1)",
		},
		{
			name: "a unit on its way out may still run",
			given: `machine m1
				unit a.service leaving m1 unwanted conflicts hello.service
				unit hello.service`,
			want: "hello.service no machine fits: is still stopping the conflicting a.service (m1)",
		},
		{
			name: "what is on its way out pushes nothing away",
			given: `machine m1
				unit a.service leaving m1 unwanted conflicts hello.service
				unit hello.service on m1`,
			want: "",
		},
		{
			name: "of two that came into conflict the changed one moves",
			given: `machine m1
				machine m2
				unit a.service on m1 changed conflicts hello.service
				unit hello.service on m1`,
			want: "a.service off m1, on m2",
		},
		{
			name: "of two that came into conflict the younger one moves",
			given: `machine m1
				machine m2
				unit b.service on m1
				unit a.service on m1 conflicts b.service`,
			want: "a.service off m1, on m2",
		},
	})
}

func TestA11_OnlyTheLostMachinesUnitMoves(t *testing.T) {
	run(t, []struct{ name, given, want string }{{
		name: "three in conflict on four machines",
		given: `machine m1
			machine m2 lost
			machine m3
			machine m4
			unit c@1.service on m1 conflicts c@*.service
			unit c@2.service on m2 conflicts c@*.service
			unit c@3.service on m3 conflicts c@*.service`,
		want: "c@2.service off m2, on m4",
	}})
}

func TestA18_MachineOf(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "a pair is placed together, whoever is first by name",
			given: `machine m1
				machine m2
				unit filler.service on m1
				unit a.service with b.service
				unit b.service`,
			want: "b.service on m2\na.service on m2",
		},
		{
			name: "a pair moves together",
			given: `machine m1 lost
				machine m2
				unit a.service on m1 with b.service
				unit b.service on m1`,
			want: "b.service off m1, on m2\na.service off m1, on m2",
		},
		{
			name: "a unit follows one that moved",
			given: `machine m1
				machine m2
				unit a.service on m1 with b.service
				unit b.service on m2`,
			want: "a.service off m1, on m2",
		},
		{
			name: "a unit without its peer waits",
			given: `machine m1
				unit a.service with b.service`,
			want: "a.service no machine fits: b.service is not placed (m1)",
		},
		{
			name: "a peer that left moves nothing",
			given: `machine m1
				unit a.service on m1 with b.service`,
			want: "",
		},
		{
			name: "a peer goes where its follower fits, too",
			given: `machine m1
				machine m2 disk=ssd
				unit filler.service on m2
				unit a.service with b.service needs disk=ssd
				unit b.service`,
			want: "b.service on m2\na.service on m2",
		},
		{
			name: "a circle is placed together",
			given: `machine m1
				machine m2
				unit a.service with b.service
				unit b.service with a.service`,
			want: "b.service on m1\na.service on m1",
		},
		{
			name: "a pattern is any that matches",
			given: `machine m1
				machine m2
				unit a.service with db@*.service
				unit db@1.service on m2`,
			want: "a.service on m2",
		},
		{
			name: "a follower that may not follow says why",
			given: `machine m1
				machine m2 cordoned
				unit a.service with b.service
				unit b.service on m2`,
			want: "a.service no machine fits: is cordoned (m2); b.service is on m2 (m1)",
		},
	})
}

func TestA22_Globals(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "on each machine that fits",
			given: `machine m1 region=eu
				machine m2
				machine m3 region=eu
				unit g.service global needs region=eu`,
			want: "g.service on m1, on m3",
		},
		{
			name: "silent and dead machines keep theirs, but get none",
			given: `machine m1 held
				machine m2 lost
				machine m3 lost
				unit g.service global on m1 on m2`,
			want: "g.service on m1, on m2",
		},
		{
			name: "it leaves a machine that no longer fits",
			given: `machine m1 region=us
				machine m2 region=eu
				unit g.service global on m1 on m2 needs region=eu`,
			want: "g.service off m1, on m2",
		},
		{
			name: "of two in conflict the first stays",
			given: `machine m1
				machine m2
				unit g.service global on m1 on m2
				unit h.service global conflicts g.service`,
			want: "g.service on m1, on m2\nh.service no machine fits: runs the conflicting g.service (m1, m2)",
		},
	})
}
