package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// pair is a Cluster and the oracle, told the same things.
type pair struct {
	t        testing.TB
	r        *rand.Rand
	c        *Cluster
	o        *oracle
	machines []registry.MachineID
	units    []unit.Name
	story    []string
	since    registry.Revision
}

func newPair(t testing.TB, seed uint64) *pair {
	r := rand.New(rand.NewPCG(seed, 5))
	p := &pair{t: t, r: r, c: New(), o: newOracle()}
	sizes := []int{1, 3, 6, 6, 6, 12, 12, 30, 90}
	n := sizes[r.IntN(len(sizes))]
	if seed%100 == 99 {
		n = 300
	}
	for i := range n {
		p.machines = append(p.machines, registry.MachineID(fmt.Sprintf("%02x%d", r.IntN(256), i)))
	}
	for i := range n + 8 {
		p.units = append(p.units, unit.Name([]string{
			fmt.Sprintf("u%d.service", i), fmt.Sprintf("web@%d.service", i), fmt.Sprintf("db@%d.socket", i%5),
		}[r.IntN(3)]))
	}
	slices.Sort(p.units)
	p.units = slices.Compact(p.units)
	return p
}

func (p *pair) pick(words ...string) string { return words[p.r.IntN(len(words))] }

func (p *pair) anyUnit() unit.Name { return p.units[p.r.IntN(len(p.units))] }

func (p *pair) anyMachine() registry.MachineID { return p.machines[p.r.IntN(len(p.machines))] }

func (p *pair) say(format string, args ...any) {
	p.story = append(p.story, fmt.Sprintf(format, args...))
}

// event makes something happen.
func (p *pair) event() {
	switch id, name := p.anyMachine(), p.anyUnit(); p.r.IntN(16) {
	case 0, 1, 2, 3:
		m := p.randomMachine(id)
		p.say("machine %+v", m)
		p.c.SetMachine(m)
		p.o.SetMachine(m)
	case 4:
		p.say("drop machine %s", id)
		p.c.DropMachine(id)
		p.o.DropMachine(id)
	case 5, 6, 7, 8, 9, 10:
		u := p.randomUnit(name)
		p.say("unit %+v", u)
		p.c.SetUnit(u)
		p.o.SetUnit(u)
	case 11:
		p.say("drop unit %s", name)
		p.c.DropUnit(name)
		p.o.DropUnit(name)
	case 12:
		p.since++
		place := Place{Since: p.since, Leaving: p.r.IntN(3) == 0}
		p.say("put %s on %s: %+v", name, id, place)
		p.c.Put(id, name, place)
		p.o.Put(id, name, place)
	case 13:
		p.take(name)
	case 14:
		path := p.pick("", "/etc/"+string(name))
		p.say("taken %s on %s: %q", name, id, path)
		p.c.SetTaken(id, name, path)
		p.o.SetTaken(id, name, path)
	case 15:
		if p.r.IntN(3) == 0 {
			p.say("untake %s", id)
			p.c.Untake(id)
			p.o.Untake(id)
		}
	}
}

// take takes a place of a unit's away, most of all one that it is leaving.
func (p *pair) take(name unit.Name) {
	for id, place := range p.c.Places(name) {
		if place.Leaving || p.r.IntN(4) == 0 {
			p.say("take %s off %s", name, id)
			p.c.Take(id, name)
			p.o.Take(id, name)
			return
		}
	}
}

func (p *pair) randomMachine(id registry.MachineID) Machine {
	m := Machine{ID: id, Hostname: "h" + string(id[len(id)-1]), Systemd: p.pick("", "252.1", "252.1", "252.2", "254")}
	m.Metadata = map[string]string{"hostname": m.Hostname, "n": fmt.Sprint(p.r.IntN(4))}
	if p.r.IntN(8) > 0 {
		m.Metadata["region"] = p.pick("eu", "us", "us")
	}
	if p.r.IntN(3) > 0 {
		m.Memory, m.CPU, m.Tasks = []uint64{4, 8}[p.r.IntN(2)]<<30, 2000, uint64(p.r.IntN(2))*1000
	}
	switch p.r.IntN(12) {
	case 0:
		m.State, m.Why = Held, p.pick("is silent", "is away")
	case 1:
		m.State, m.Why = Lost, "is dead"
	case 2:
		m.Cordoned = true
	case 3:
		m.Drained, m.Cordoned = true, p.r.IntN(2) == 0
	}
	return m
}

func (p *pair) randomUnit(name unit.Name) Unit {
	u := Unit{Name: name, Wanted: p.r.IntN(6) > 0, Changed: p.r.IntN(5) == 0}
	o := &u.Options
	for range p.r.IntN(3) {
		switch p.r.IntN(14) {
		case 8:
			u.Needs.Memory = unit.Resource{Amount: uint64(1+p.r.IntN(3)) << 30}
			u.Needs.CPU = unit.Resource{Amount: uint64(p.r.IntN(2)) * 500}
		case 9:
			u.Needs.Memory, u.Needs.Tasks = unit.Resource{Share: 5000}, unit.Resource{Share: uint64(p.r.IntN(2)) * 3000}
		case 10:
			first := uint16(80 + p.r.IntN(3))
			u.Ports = append(u.Ports, unit.Port{Protocol: "tcp", Number: first, Last: first + uint16(p.r.IntN(2)), Address: p.pick("", "", "10.0.0.1", "10.0.0.2")})
		case 11:
			o.Spread = append(o.Spread, p.pick("region", "n", "none"))
		case 12:
			o.Prefer, _ = unit.ParseRequirements(p.pick("region=eu", "region=us n<2", "n!=1 disk exists"))
			o.Priority = p.r.IntN(3)
		case 13:
			o.Replaces = append(o.Replaces, p.pick("web@*.service", "db@1.socket", string(p.anyUnit()), string(p.anyUnit())))
		case 0, 1:
			o.Requirements, _ = unit.ParseRequirements(p.pick("region=eu", "region=eu n<3", "n in 1,2 region!=eu", "region exists", "n>2", "region=eu region=us", "hostname=h1", "hostname=h9"))
		case 2, 3:
			o.Conflicts = append(o.Conflicts, p.pick("web@*.service", "db@*", "u?.service", "*.socket", "u[12].service", "w*", string(p.anyUnit()), string(p.anyUnit())))
		case 4:
			o.MachineOf = append(o.MachineOf, p.pick("db@*.socket", "u1*.service", string(p.anyUnit()), string(p.anyUnit())))
		case 5:
			id := p.anyMachine()
			o.MachineID = p.pick(string(id), string(id[:2]), string(id[:1]), "h"+string(id[len(id)-1]))
		case 6:
			o.Global = p.r.IntN(2) == 0
		case 7:
			u.Systemd = []int{0, 253}[p.r.IntN(2)]
			if p.r.IntN(2) == 0 {
				u.Unfit = map[string]string{"252.1": "line 4: no such setting"}
			}
		}
	}
	for _, list := range []*[]string{&o.MachineOf, &o.Conflicts, &o.Replaces, &o.Spread} {
		slices.Sort(*list)
		*list = slices.Compact(*list) // as a file's are
	}
	o.MachineOf = slices.DeleteFunc(o.MachineOf, func(peer string) bool { return matches(peer, name) && !isGlob(peer) })
	if p.r.IntN(8) == 0 {
		u.Running = []registry.MachineID{p.anyMachine()}
	}
	return u
}

// decide plans with both and compares what they say.
func (p *pair) decide(names []unit.Name) {
	p.t.Helper()
	p.say("plan %s", names)
	got, want := p.c.Plan(names), p.o.Plan(names)
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = fmt.Sprintf("%+v", got[i])
		}
		if i < len(want) {
			w = fmt.Sprintf("%+v", want[i])
		}
		if g != w {
			p.t.Fatalf("%s\n\n%d decisions, the oracle %d; the first that differs:\ngot  %s\nwant %s", strings.Join(p.story, "\n"), len(got), len(want), g, w)
		}
	}
}

// TestSameAsOracle tells random clusters random things, and compares each
// decision and each refusal with those of the oracle.
func TestSameAsOracle(t *testing.T) {
	for seed := range uint64(seeds(t)) {
		p := newPair(t, seed)
		p.say("seed %d", seed)
		for range 2 * len(p.machines) {
			p.event()
		}
		for range 6 {
			for range p.r.IntN(12) {
				p.event()
			}
			names := slices.DeleteFunc(slices.Clone(p.units), func(unit.Name) bool { return p.r.IntN(4) == 0 })
			p.decide(names)
		}
	}
}

func seeds(t *testing.T) int {
	if testing.Short() {
		return 100
	}
	return 400
}

// TestSettles plans random clusters again and again, those leaving being gone
// each time: soon nothing changes any more, however units replace each other,
// conflict, and follow each other.
func TestSettles(t *testing.T) {
	reasons := map[string]bool{}
	for seed := range uint64(seeds(t)) {
		p := newPair(t, seed)
		for range 4 * len(p.machines) {
			p.event()
		}
		quiet := false
		for round := 0; !quiet; round++ {
			if round > 12 {
				t.Fatalf("seed %d: it does not settle\n%s", seed, strings.Join(p.story, "\n"))
			}
			quiet = true
			for _, d := range p.c.Plan(p.units) {
				reason, _, _ := strings.Cut(d.Reason, " of ")
				reasons[reason] = true
				if len(d.Off) > 0 || d.Reason != "" {
					quiet = false
					p.say("round %d: %+v", round, d)
				}
			}
			for _, name := range p.units {
				for id, place := range p.c.Places(name) {
					if place.Leaving {
						p.c.Take(id, name)
					}
				}
			}
		}
	}
	for _, want := range []string{"it takes the place", "best by Prefer=", "best by Spread=", "has most left", "least loaded"} {
		if !reasons[want] {
			t.Errorf("no unit was placed because %q", want)
		}
	}
}
