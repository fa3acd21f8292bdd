package etcd_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
)

// state reads machines ("m2-" is dead, "m2!" can't be a member), members
// ("m2~" is a learner, "m2~?" one that has not started) and records, all in order.
func state(wanted int, machines, members, records string) etcd.MembershipState {
	s := etcd.MembershipState{Wanted: wanted, Records: make(map[registry.MachineID]*registry.Member)}
	for _, m := range strings.Fields(machines) {
		id := strings.TrimRight(m, "-!")
		c := etcd.Candidate{Machine: registry.MachineID(id), Peer: id + ":7423", Alive: !strings.HasSuffix(m, "-")}
		if strings.HasSuffix(m, "!") {
			c.Peer = ""
		}
		s.Machines = append(s.Machines, c)
	}
	for _, m := range strings.Fields(members) {
		s.Members = append(s.Members, member(strings.TrimRight(m, "~?"), strings.Contains(m, "~"), !strings.HasSuffix(m, "?")))
	}
	for _, r := range strings.Fields(records) {
		e := member(strings.TrimRight(r, "~"), strings.HasSuffix(r, "~"), true)
		s.Records[e.Machine] = &registry.Member{Version: 1, EtcdId: e.ID, PeerUrl: e.PeerURL, Promoted: !e.Learner}
	}
	return s
}

func member(machine string, learner, started bool) etcd.EtcdMember {
	var id uint64
	for _, c := range machine {
		id = id*256 + uint64(c)
	}
	return etcd.EtcdMember{
		ID:      id,
		Machine: registry.MachineID(machine),
		PeerURL: etcd.PeerURL(machine + ":7423"),
		Learner: learner,
		Started: started,
	}
}

func TestPlanMembership(t *testing.T) {
	for _, test := range []struct {
		name                       string
		machines, members, records string
		wanted                     int
		want                       string
	}{
		{"one machine is enough for one", "m1", "m1", "m1", 1, "nothing: "},
		{"one machine waits for more", "m1", "m1", "m1", 3, "nothing: 1 etcd members, 3 wanted: waits for more machines to join"},
		{"two machines would be an even number", "m1 m2", "m1", "m1", 3, "nothing: 1 etcd members, 3 wanted: waits for more machines to join"},
		{"a dead machine is no candidate", "m1 m2 m3-", "m1", "m1", 3, "nothing: 1 etcd members, 3 wanted: waits for more machines to join"},
		{"nor one without a peer address", "m1 m2 m3!", "m1", "m1", 3, "nothing: 1 etcd members, 3 wanted: waits for more machines to join"},
		{"three machines: the first to join comes first", "m1 m3 m2", "m1", "m1", 3, "add learner m3: 1 etcd members, 3 possible"},
		{"the first member gets its record", "m1", "m1", "", 3, "write record of m1: etcd's members changed"},
		{"a learner gets its record", "m1 m2 m3", "m1 m2~?", "m1", 3, "write record of m2: etcd's members changed"},
		{"a learner is waited for", "m1 m2 m3", "m1 m2~?", "m1 m2~", 3, "nothing: etcd member of m2 has not started yet"},
		{"a learner that runs is promoted", "m1 m2 m3", "m1 m2~", "m1 m2~", 3, "promote m2: its member runs as a learner"},
		{"a promotion is recorded", "m1 m2 m3", "m1 m2", "m1 m2~", 3, "write record of m2: etcd's members changed"},
		{"two go on to three", "m1 m2 m3", "m1 m2", "m1 m2", 3, "add learner m3: 2 etcd members, 3 possible"},
		{"three of three", "m1 m2 m3 m4", "m1 m2 m3", "m1 m2 m3", 3, "nothing: "},
		{"three go on to five", "m1 m2 m3 m4 m5", "m1 m2 m3", "m1 m2 m3", 5, "add learner m4: 3 etcd members, 5 possible"},
		{"four machines stay at three", "m1 m2 m3 m4", "m1 m2 m3", "m1 m2 m3", 5, "nothing: 3 etcd members, 5 wanted: waits for more machines to join"},
		{"a learner that died makes room", "m1 m2- m3", "m1 m2~?", "m1 m2~", 3, "remove m2: its machine died before it was a full member"},
		{"a dead member stays", "m1 m2- m3 m4", "m1 m2 m3", "m1 m2 m3", 3, "nothing: "},
		{"nobody joins while one is dead", "m1 m2- m3 m4 m5", "m1 m2 m3", "m1 m2 m3", 5, "nothing: 1 of 3 etcd members are dead: bring their machines back, or take them out with clusterctl machine remove"},
		{"a removed machine's member goes first", "m1 m3 m4", "m1 m2 m3", "m1 m2 m3", 3, "remove m2: its machine was removed"},
		{"then its record", "m1 m3 m4", "m1 m3", "m1 m2 m3", 3, "delete record of m2: it is not an etcd member"},
		{"then another comes", "m1 m3 m4", "m1 m3", "m1 m3", 3, "add learner m4: 2 etcd members, 3 possible"},
		{"a removal waits for a quorum of the rest", "m1 m3- m4", "m1 m2 m3", "m1 m2 m3", 3, "nothing: removing the member of m2 waits: only 1 of the 2 others are alive"},
		{"the only member stays", "m2 m3", "m1", "m1", 3, "nothing: machine m1 was removed but holds the only etcd member"},
		{"all machines gone removes nobody", "", "m1 m2 m3", "m1 m2 m3", 3, "nothing: removing the member of m1 waits: only 0 of the 2 others are alive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			step, why := etcd.PlanMembership(state(test.wanted, test.machines, test.members, test.records))
			if got := fmt.Sprintf("%s: %s", step, why); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestPlanMembership_InitialClusterNamesAll(t *testing.T) {
	step, _ := etcd.PlanMembership(state(3, "m1 m2 m3", "m1 m2~?", "m1"))
	want := "m1=https://m1:7423,m2=https://m2:7423"
	if step.Record.GetInitialCluster() != want || step.Record.GetPromoted() {
		t.Errorf("got %v, want a learner's record with initial cluster %s", step.Record, want)
	}
}

// TestPlanMembership_Property plays machines that join, die, come back and are
// removed against the plan: at most one learner, a quorum alive whenever it was
// before the step, and, once all is calm, an odd number and an empty plan.
func TestPlanMembership_Property(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := state([]int{1, 3, 5}[random.IntN(3)], "m1", "m1", "m1")
		joined := 1
		for range 60 {
			joined = disturb(random, &s, joined)
			for range random.IntN(4) {
				carryOut(t, seed, &s)
			}
		}
		for i := range s.Machines {
			s.Machines[i].Alive = true
		}
		for range 100 {
			carryOut(t, seed, &s)
		}
		step, why := etcd.PlanMembership(s)
		if step.Kind != etcd.Nothing {
			t.Fatalf("seed %d: after 100 steps the plan still wants %s", seed, step)
		}
		if goal := min(s.Wanted, len(s.Machines)); len(s.Members) < goal-1 {
			t.Fatalf("seed %d: ends with %d members of %d possible (%s)", seed, len(s.Members), goal, why)
		}
	}
}

// disturb changes the world as it does by itself, but never kills or removes a
// majority of the members, which no plan could help against.
func disturb(random *rand.Rand, s *etcd.MembershipState, joined int) int {
	switch i := random.IntN(len(s.Machines)); random.IntN(4) {
	case 0:
		joined++
		id := fmt.Sprintf("m%d", joined)
		s.Machines = append(s.Machines, etcd.Candidate{Machine: registry.MachineID(id), Peer: id + ":7423", Alive: true})
	case 1:
		s.Machines[i].Alive = false
		if !healthy(*s) {
			s.Machines[i].Alive = true
		}
	case 2:
		s.Machines[i].Alive = true
	case 3:
		if len(s.Machines) > 1 {
			was := s.Machines
			s.Machines = append(append([]etcd.Candidate(nil), was[:i]...), was[i+1:]...)
			if !healthy(*s) {
				s.Machines = was
			}
		}
	}
	for i, e := range s.Members {
		if !e.Started && random.IntN(2) == 0 {
			s.Members[i].Started = true
		}
	}
	return joined
}

func healthy(s etcd.MembershipState) bool {
	voters, living := count(s)
	return living >= voters/2+1
}

func count(s etcd.MembershipState) (voters, living int) {
	alive := make(map[registry.MachineID]bool)
	for _, c := range s.Machines {
		alive[c.Machine] = c.Alive
	}
	for _, e := range s.Members {
		if e.Learner {
			continue
		}
		voters++
		if alive[e.Machine] {
			living++
		}
	}
	return voters, living
}

func carryOut(t *testing.T, seed uint64, s *etcd.MembershipState) {
	t.Helper()
	step, _ := etcd.PlanMembership(*s)
	switch step.Kind {
	case etcd.AddLearner:
		if voters, living := count(*s); living < voters {
			t.Fatalf("seed %d: %s while only %d of %d are alive", seed, step, living, voters)
		}
		s.Members = append(s.Members, member(string(step.Machine), true, false))
	case etcd.Promote, etcd.RemoveMember:
		var rest []etcd.EtcdMember
		for _, e := range s.Members {
			if e.ID != step.ID {
				rest = append(rest, e)
			} else if step.Kind == etcd.Promote {
				e.Learner = false
				rest = append(rest, e)
			}
		}
		s.Members = rest
	case etcd.WriteRecord:
		s.Records[step.Machine] = step.Record
	case etcd.DeleteRecord:
		delete(s.Records, step.Machine)
	}
	learners := 0
	for _, e := range s.Members {
		if e.Learner {
			learners++
		}
	}
	if learners > 1 || !healthy(*s) {
		t.Fatalf("seed %d: %s leaves %d learners, or no quorum: %+v", seed, step, learners, s.Members)
	}
	for i := range s.Members { // a live machine starts its member sooner or later
		s.Members[i].Started = true
	}
}
