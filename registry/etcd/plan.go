package etcd

import (
	"fmt"
	"strings"

	"github.com/clusterd/clusterd/registry"
)

// MembershipState is what PlanMembership decides by.
type MembershipState struct {
	Wanted   int                                     // members wanted: 1, 3 or 5
	Machines []Candidate                             // registered machines, in the order they joined
	Members  []EtcdMember                            // as etcd lists them
	Records  map[registry.MachineID]*registry.Member // under cluster/members/
}

// Candidate is a registered machine.
type Candidate struct {
	Machine registry.MachineID
	Peer    string // host:port; empty if it can't be a member
	Alive   bool
	// API, Gate and Gossip are what its record tells other machines.
	API, Gate, Gossip string
}

// EtcdMember is a member of etcd.
type EtcdMember struct {
	ID      uint64
	Machine registry.MachineID // its name, or, before it first started, whose peer address it has; "" if nobody's
	PeerURL string
	Learner bool
	Started bool
}

// StepKind is what a MembershipStep does.
type StepKind int

// The kinds of steps. Nothing is the zero value.
const (
	Nothing StepKind = iota
	AddLearner
	Promote
	RemoveMember
	WriteRecord
	DeleteRecord
)

// MembershipStep is the next change of etcd's membership, or of its records.
type MembershipStep struct {
	Kind    StepKind
	Machine registry.MachineID
	ID      uint64           // of the member to promote or remove
	PeerURL string           // of the learner to add
	Record  *registry.Member // to write
}

func (s MembershipStep) String() string {
	verb := map[StepKind]string{
		Nothing:      "nothing",
		AddLearner:   "add learner ",
		Promote:      "promote ",
		RemoveMember: "remove ",
		WriteRecord:  "write record of ",
		DeleteRecord: "delete record of ",
	}[s.Kind]
	if s.Kind == RemoveMember && s.Machine == "" {
		return fmt.Sprintf("%snobody's %x", verb, s.ID)
	}
	return verb + string(s.Machine)
}

// PlanMembership returns the next step towards the members wanted, and why; or
// Nothing, and what it waits for, which is empty when all is as it should be.
//
// The members of machines that were removed go first, then a learner is promoted,
// then one is added. No step leaves fewer living members than the next
// decision of etcd needs, and no member is added while one is dead.
func PlanMembership(s MembershipState) (MembershipStep, string) {
	m := survey(s)
	if step, why := m.leave(); step.Kind != Nothing || why != "" {
		return step, why
	}
	if step, why := m.record(s.Records); step.Kind != Nothing {
		return step, why
	}
	if m.learner != nil {
		return m.promote()
	}
	return m.grow(s.Wanted)
}

// members is the state, sorted out.
type members struct {
	all      []EtcdMember
	learner  *EtcdMember
	voters   int
	living   int // voters whose machine is alive
	machines []Candidate
	machine  map[registry.MachineID]Candidate // registered
	member   map[registry.MachineID]bool
}

func survey(s MembershipState) members {
	m := members{
		all:      s.Members,
		machines: s.Machines,
		machine:  make(map[registry.MachineID]Candidate, len(s.Machines)),
		member:   make(map[registry.MachineID]bool, len(s.Members)),
	}
	for _, c := range s.Machines {
		m.machine[c.Machine] = c
	}
	for i, e := range s.Members {
		m.member[e.Machine] = true
		if e.Learner {
			m.learner = &s.Members[i]
			continue
		}
		m.voters++
		if m.machine[e.Machine].Alive {
			m.living++
		}
	}
	return m
}

func quorum(voters int) int { return voters/2 + 1 }

// leave removes members that are to go: those of machines no longer
// registered, and a learner whose machine died before it was promoted.
func (m members) leave() (MembershipStep, string) {
	for _, e := range m.all {
		machine, registered := m.machine[e.Machine]
		step := MembershipStep{Kind: RemoveMember, Machine: e.Machine, ID: e.ID}
		switch {
		case e.Learner && !registered:
			return step, "its machine was removed"
		case e.Learner && !machine.Alive:
			return step, "its machine died before it was a full member"
		case registered || e.Learner:
			continue
		case m.voters == 1:
			return MembershipStep{}, fmt.Sprintf("machine %s was removed but holds the only etcd member", e.Machine)
		case m.living < quorum(m.voters-1):
			return MembershipStep{}, fmt.Sprintf("removing the member of %s waits: only %d of the %d others are alive", e.Machine, m.living, m.voters-1)
		default:
			return step, "its machine was removed"
		}
	}
	return MembershipStep{}, ""
}

// record makes the records agree with etcd's members.
func (m members) record(records map[registry.MachineID]*registry.Member) (MembershipStep, string) {
	for _, e := range m.all {
		want := &registry.Member{
			Version:        registry.RecordVersion,
			EtcdId:         e.ID,
			PeerUrl:        e.PeerURL,
			InitialCluster: m.initialCluster(),
			Promoted:       !e.Learner,
		}
		if c, ok := m.machine[e.Machine]; ok {
			want.Api, want.Gate, want.Gossip = c.API, c.Gate, c.Gossip
		}
		if !sameMember(records[e.Machine], want) {
			return MembershipStep{Kind: WriteRecord, Machine: e.Machine, Record: want}, "etcd's members changed"
		}
	}
	var stale registry.MachineID
	for machine := range records {
		if !m.member[machine] && (stale == "" || machine < stale) {
			stale = machine
		}
	}
	if stale != "" {
		return MembershipStep{Kind: DeleteRecord, Machine: stale}, "it is not an etcd member"
	}
	return MembershipStep{}, ""
}

// sameMember leaves the initial cluster aside: it matters only to a member's
// first start.
func sameMember(have, want *registry.Member) bool {
	return have != nil && have.EtcdId == want.EtcdId && have.PeerUrl == want.PeerUrl && have.Promoted == want.Promoted &&
		have.Api == want.Api && have.Gate == want.Gate && have.Gossip == want.Gossip
}

func (m members) initialCluster() string {
	parts := make([]string, len(m.all))
	for i, e := range m.all {
		parts[i] = string(e.Machine) + "=" + e.PeerURL
	}
	return strings.Join(parts, ",")
}

func (m members) promote() (MembershipStep, string) {
	switch {
	case !m.learner.Started:
		return MembershipStep{}, fmt.Sprintf("etcd member of %s has not started yet", m.learner.Machine)
	case m.living+1 < quorum(m.voters+1):
		return MembershipStep{}, fmt.Sprintf("promoting %s waits: only %d of %d members are alive", m.learner.Machine, m.living, m.voters)
	}
	return MembershipStep{Kind: Promote, Machine: m.learner.Machine, ID: m.learner.ID}, "its member runs as a learner"
}

func (m members) grow(wanted int) (MembershipStep, string) {
	if m.voters >= wanted {
		return MembershipStep{}, ""
	}
	if m.living < m.voters {
		return MembershipStep{}, fmt.Sprintf("%d of %d etcd members are dead: bring their machines back, or take them out with clusterctl machine remove", m.voters-m.living, m.voters)
	}
	var able []Candidate
	for _, c := range m.machines {
		if c.Alive && c.Peer != "" && !m.member[c.Machine] {
			able = append(able, c)
		}
	}
	goal := min(wanted, m.voters+len(able))
	if goal%2 == 0 {
		goal--
	}
	if goal <= m.voters {
		return MembershipStep{}, fmt.Sprintf("%d etcd members, %d wanted: waits for more machines to join", m.voters, wanted)
	}
	next := able[0]
	return MembershipStep{Kind: AddLearner, Machine: next.Machine, PeerURL: PeerURL(next.Peer)},
		fmt.Sprintf("%d etcd members, %d possible", m.voters, goal)
}
