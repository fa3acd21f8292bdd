package placement

import "testing"

func TestResources(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "what is given away is counted, and the rest is said",
			given: `machine m1 GiB=4
				machine m2 GiB=2
				unit a.service on m1 MiB 2868
				unit b.service MiB 4096`,
			want: "b.service no machine fits: has 1.1 GiB of memory free, and the unit needs 4 GiB (m1); " +
				"has 2 GiB of memory free, and the unit needs 4 GiB (m2)",
		},
		{
			name: "what is leaving still counts",
			given: `machine m1 GiB=4
				unit a.service leaving m1 unwanted MiB 2048
				unit b.service MiB 3072`,
			want: "b.service no machine fits: has 2 GiB of memory free, and the unit needs 3 GiB (m1)",
		},
		{
			name: "CPUs are counted, too",
			given: `machine m1 cpus=2
				unit a.service on m1 mCPU 1500
				unit b.service mCPU 1000`,
			want: "b.service no machine fits: has 0.5 CPU free, and the unit needs 1 CPU (m1)",
		},
		{
			name: "a machine of unknown size takes all",
			given: `machine m1
				unit a.service MiB 1048576`,
			want: "a.service on m1",
		},
		{
			name: "a share is one of each machine's own memory",
			given: `machine m1 GiB=4
				machine m2 GiB=8
				unit a.service on m1 MiB 3072
				unit b.service on m2 MiB 3072
				unit c.service percent 50`,
			want: "c.service on m2",
		},
		{
			name: "the machine with most left of its scarcest resource is the best",
			given: `machine m1 GiB=4 cpus=4
				machine m2 GiB=4 cpus=4
				unit a.service on m1 MiB 1024 mCPU 100
				unit b.service on m2 MiB 100 mCPU 2000
				unit c.service MiB 100`,
			want: "c.service on m1",
		},
		{
			name: "many sizes are one line",
			given: `machine m1 GiB=1
				machine m2 GiB=2
				machine m3 GiB=3
				machine m4 GiB=4
				machine m5 GiB=5
				machine m6 GiB=6
				unit a.service MiB 8192`,
			want: "a.service no machine fits: has at most 6 GiB of memory free, and the unit needs 8 GiB (6 machines)",
		},
		{
			name: "sums move nothing that is placed",
			given: `machine m1 GiB=1
				machine m2 GiB=9
				unit a.service on m1 MiB 4096`,
			want: "",
		},
		{
			name: "a pair goes where both fit",
			given: `machine m1 GiB=4
				machine m2 GiB=8
				unit x.service on m2 MiB 1024
				unit a.service MiB 3072 with b.service
				unit b.service MiB 3072`,
			want: "b.service on m2\na.service on m2",
		},
	})
}

func TestPorts(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "a port that is taken is said, with who has it",
			given: `machine m1
				unit web.service on m1 port 8080
				unit a.service port 8080`,
			want: "a.service no machine fits: port 8080/tcp is taken by web.service (m1)",
		},
		{
			name: "elsewhere it is free",
			given: `machine m1
				machine m2
				unit x.service on m2
				unit y.service on m2
				unit web.service on m1 port 8080
				unit a.service port 8080`,
			want: "a.service on m2",
		},
		{
			name: "of two that came to have the same port the changed one moves",
			given: `machine m1
				machine m2
				unit a.service on m1 port 80 changed
				unit b.service on m1 port 80`,
			want: "a.service off m1, on m2",
		},
	})
}

func TestScores(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "what is preferred counts before load",
			given: `machine m1 disk=ssd
				machine m2
				unit x.service on m1
				unit a.service prefers disk=ssd`,
			want: "a.service on m1",
		},
		{
			name: "what is preferred is not required",
			given: `machine m1 disk=ssd cordoned
				machine m2
				unit a.service prefers disk=ssd`,
			want: "a.service on m2",
		},
		{
			name: "a template's units are spread over racks, whatever else is there",
			given: `machine m1 rack=a
				machine m2 rack=a
				machine m3 rack=b
				machine m4
				unit x.service on m3
				unit y.service on m3
				unit z.service on m3
				unit w@1.service over rack
				unit w@2.service over rack
				unit w@3.service over rack
				unit w@4.service over rack`,
			want: "w@1.service on m1\nw@2.service on m3\nw@3.service on m2\nw@4.service on m3",
		},
		{
			name: "the higher priority goes first",
			given: `machine m1
				unit a.service conflicts b.service
				unit b.service priority 5`,
			want: "b.service on m1\na.service no machine fits: runs the conflicting b.service (m1)",
		},
	})
}

func TestA20_Replaces(t *testing.T) {
	run(t, []struct{ name, given, want string }{
		{
			name: "it takes the machine of its victim, which goes elsewhere",
			given: `machine m1
				machine m2
				unit old.service on m2
				unit x.service on m2
				unit new.service replaces old.service`,
			want: "new.service on m2\nold.service off m2, on m1",
		},
		{
			name: "the victim's memory and port are free for it",
			given: `machine m1 GiB=4
				machine m2 GiB=4
				unit old.service on m2 MiB 3072 port 80
				unit new.service MiB 3072 port 80 replaces old.service`,
			want: "new.service on m2\nold.service off m2, on m1",
		},
		{
			name: "a victim without another machine waits",
			given: `machine m1
				unit old.service on m1
				unit new.service replaces old.service`,
			want: "new.service on m1\nold.service off m1, no machine fits: runs new.service, which replaces it (m1)",
		},
		{
			name: "both new, they are placed apart",
			given: `machine m1
				machine m2
				unit a.service
				unit new.service replaces a.service`,
			want: "new.service on m1\na.service on m2",
		},
		{
			name: "two that replace each other chase nobody",
			given: `machine m1
				machine m2
				unit a.service on m1 replaces b.service
				unit b.service replaces a.service`,
			want: "b.service on m2",
		},
		{
			name: "nor do three in a circle",
			given: `machine m1
				machine m2
				unit a.service on m1 replaces b.service
				unit b.service on m2 replaces c.service
				unit c.service replaces a.service`,
			want: "c.service no machine fits: runs a.service, which it replaces (m1); runs b.service, which replaces it (m2)",
		},
		{
			name: "one that has to move leaves its victim alone if it can",
			given: `machine m1 lost
				machine m2
				machine m3
				unit x.service on m3
				unit new.service on m1 replaces old.service
				unit old.service on m2`,
			want: "new.service off m1, on m3",
		},
		{
			name: "one that has to be with its victim does not chase it",
			given: `machine m1
				machine m2
				unit db@2.socket on m1
				unit a.service with db@*.socket replaces db@2.socket`,
			want: "a.service no machine fits: db@*.socket is on m1 (m2); runs db@2.socket, which it replaces (m1)",
		},
		{
			name: "a chain of victims moves up",
			given: `machine m1
				machine m2
				machine m3
				unit a.service on m1
				unit b.service on m2 replaces a.service
				unit c.service replaces b.service`,
			want: "c.service on m2\nb.service off m2, on m3",
		},
	})
}
