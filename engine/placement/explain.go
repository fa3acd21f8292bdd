package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Explanation says for a unit what each machine has against it.
type Explanation struct {
	Unit     unit.Name
	On       []registry.MachineID // where it is
	Machines []MachineReasons     // all that are registered, by id
	Rules    []RuleCount          // the one that refuses most machines first
	// Pending says that it is not where it should be. Change is then the
	// smallest single change after which it would be; nil when none is known.
	Pending bool
	Change  *Change
}

// MachineReasons are all that keeps a unit off one machine.
type MachineReasons struct {
	ID       registry.MachineID
	Hostname string
	Problems []Problem // none: it fits
}

// Problem is one rule that keeps one unit off one machine.
type Problem struct{ Rule, Detail string }

// RuleCount is how many machines a rule refuses.
type RuleCount struct {
	Rule     string
	Machines int
}

// ExplainUnit says what each machine has against a unit as one to go to, and
// what would help it if it is pending. Changes are tried on the cluster itself,
// one at a time, and taken back: meanwhile nobody else may use it.
func (c *Cluster) ExplainUnit(name unit.Name) (Explanation, bool) {
	u := c.units.get(name)
	if u == nil || !u.known {
		return Explanation{}, false
	}
	c.settle()
	e := Explanation{Unit: name, On: c.PlacedOn(name)}
	counts := map[string]int{}
	for slot := range c.registered.all() {
		m := c.bySlot[slot]
		r := MachineReasons{ID: m.ID, Hostname: c.name(m)}
		for _, p := range listed(c.problems(u, m)) {
			if !slices.ContainsFunc(r.Problems, func(q Problem) bool { return q.Rule == p.Rule }) {
				counts[p.Rule]++
			}
			r.Problems = append(r.Problems, p)
		}
		e.Machines = append(e.Machines, r)
	}
	for rule, n := range counts {
		e.Rules = append(e.Rules, RuleCount{rule, n})
	}
	slices.SortFunc(e.Rules, func(a, b RuleCount) int {
		return cmp.Or(-cmp.Compare(a.Machines, b.Machines), cmp.Compare(a.Rule, b.Rule))
	})
	if e.Pending = u.wanted && !c.content(u); e.Pending {
		e.Change = c.remedy(u, e.Machines)
	}
	return e, true
}

// ExplainAs is ExplainUnit of a unit as it would be, be it known or not. The
// cluster is then as it was; meanwhile nobody else may use it.
func (c *Cluster) ExplainAs(would Unit) Explanation {
	is := c.units.get(would.Name)
	known := is != nil && is.known
	was := c.Unit(would.Name)
	c.SetUnit(would)
	e, _ := c.ExplainUnit(would.Name)
	if known {
		c.SetUnit(was)
	} else {
		c.DropUnit(would.Name)
	}
	return e
}

func listed(problems []problem) []Problem {
	var all []Problem
	for _, p := range problems {
		all = append(all, Problem{p.rule, p.detail})
	}
	return all
}

// problems says all that keeps u off m, also where one thing would do.
func (c *Cluster) problems(u *member, m *machine) []problem {
	return c.refuseBy(&checks{all: true}, u, m)
}

// content says whether a unit would now be where it should.
func (c *Cluster) content(u *member) bool {
	c.quiet = true
	defer func() { c.quiet = false }()
	var v verdict
	if u.class.options.Global {
		v = c.everywhere(u)
	} else {
		v = c.somewhere(u, u.placed(nil))
	}
	return len(v.on) > 0 && len(v.refusals) == 0
}

// triesMax bounds how many changes of a kind are tried.
const triesMax = 200

// remedy returns the first change that helps, of the smallest kind; nil when none does.
func (c *Cluster) remedy(u *member, machines []MachineReasons) *Change {
	r := remedies{c: c, u: u}
	r.ofUnit()
	for _, m := range machines {
		r.ofMachine(c.machines[m.ID], m.Problems)
		if len(u.class.victims) > 0 { // those it ousts are no problem
			k := &checks{all: true, over: true}
			r.ofMachine(c.machines[m.ID], listed(c.refuseBy(k, u, c.machines[m.ID])))
		}
	}
	for _, m := range r.homes() { // less keeps it from staying
		var problems []Problem
		if m.State != Ready {
			problems = append(problems, Problem{RuleState, m.Why})
		}
		if m.Drained {
			problems = append(problems, Problem{RuleDrain, ""})
		}
		r.ofMachine(m, append(problems, listed(c.expelBy(&checks{}, u, m))...))
	}
	for _, changes := range r.found {
		for _, ch := range changes {
			undo := ch.applyTo(c)
			c.settle()
			helps := c.content(u)
			undo()
			c.settle()
			if helps {
				return &ch
			}
		}
	}
	return nil
}

// remedies collects changes that may help, by kind.
type remedies struct {
	c     *Cluster
	u     *member
	found [changeKinds][]Change
}

func (r *remedies) add(ch Change) {
	ch.Unit = r.u.name
	if len(r.found[ch.Kind]) < triesMax && !slices.Contains(r.found[ch.Kind], ch) {
		r.found[ch.Kind] = append(r.found[ch.Kind], ch)
	}
}

// homes are the machines that have the unit, or run it, sorted.
func (r *remedies) homes() []*machine {
	homes := r.u.placed(nil)
	if r.u.more != nil {
		for _, id := range r.u.more.running {
			if m := r.c.machines[id]; m != nil {
				homes = append(homes, m)
			}
		}
	}
	homes = slices.DeleteFunc(homes, func(m *machine) bool { return !m.registered })
	slices.SortFunc(homes, byID)
	return slices.Compact(homes)
}

// ofUnit adds what could be taken out of the unit.
func (r *remedies) ofUnit() {
	o := &r.u.class.options
	for _, need := range o.Requirements {
		r.add(Change{Kind: DropRequirement, Value: need.String()})
	}
	if o.MachineID != "" {
		r.add(Change{Kind: DropMachineID, Value: o.MachineID})
	}
	for kind, list := range map[ChangeKind][]string{DropMachineOf: o.MachineOf, DropReplaces: o.Replaces, DropConflicts: o.Conflicts} {
		for _, value := range list {
			r.add(Change{Kind: kind, Value: value})
		}
	}
}

// ofMachine adds what would make a machine fit that has these problems, if one
// change can.
func (r *remedies) ofMachine(m *machine, problems []Problem) {
	if len(problems) == 0 {
		return
	}
	on := Change{Machine: m.ID, Hostname: r.c.name(m)}
	rule := problems[0].Rule
	other := func(p Problem) bool {
		return p.Rule != rule && !(rule == RuleSystemd && p.Rule == RuleUnfit) // a newer one ends both
	}
	if slices.ContainsFunc(problems, other) {
		r.otherUnits(m, problems)
		return
	}
	switch rule {
	case RuleState:
		on.Kind = BringBack
	case RuleCordon:
		on.Kind = Uncordon
	case RuleDrain:
		on.Kind = EndDrain
	case RuleNameTaken:
		on.Kind, on.Value = FreeName, m.taken[r.u.name]
	case RuleSystemd:
		on.Kind, on.Amount = UpgradeSystemd, uint64(r.u.class.systemd)
	case RuleMetadata:
		r.metadata(m, on)
		return
	case RuleResources:
		r.resources(m)
		return
	default:
		r.otherUnits(m, problems)
		return
	}
	r.add(on)
}

// metadata adds the one key that a machine would have to have otherwise.
func (r *remedies) metadata(m *machine, on Change) {
	key := ""
	for _, need := range r.u.class.options.Requirements {
		if need.Matches(m.Metadata) {
			continue
		}
		if key != "" && need.Key != key {
			return
		}
		key = need.Key
	}
	if key == "hostname" || registry.IsFact(key) {
		return // it isn't for operators to set
	}
	on.Key = key
	for _, value := range r.c.valuesFor(r.u.class, key) {
		on.Kind, on.Value = SetMetadata, value
		r.add(on)
		return
	}
	on.Kind = RemoveMetadata
	r.add(on)
}

// valuesFor returns the values of a key that a class's requirements allow,
// among those that they name and those that machines have.
func (c *Cluster) valuesFor(k *class, key string) []string {
	var values []string
	if a := c.table.metadata[key]; a != nil {
		for value := range a.values {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	for _, need := range k.options.Requirements {
		switch {
		case need.Key != key:
		case need.Op == unit.In:
			values = append(slices.Clone(need.Values), values...)
		case need.Op == unit.Exists:
			values = append(values, "yes")
		case need.Op == unit.Greater:
			values = append(values, nudge(need.Values[0], 1))
		case need.Op == unit.Less:
			values = append(values, nudge(need.Values[0], -1))
		}
	}
	return slices.DeleteFunc(values, func(value string) bool {
		with := map[string]string{key: value}
		return slices.ContainsFunc(k.options.Requirements, func(need unit.Requirement) bool {
			return need.Key == key && !need.Matches(with)
		})
	})
}

// nudge changes the last digits of a number or version: of 5.10 and 1 it makes
// 5.11, of 16G and -1 15G.
func nudge(number string, by int) string {
	end := len(strings.TrimRight(number, "KMGT"))
	start := strings.LastIndexByte(number[:end], '.') + 1
	n, err := strconv.Atoi(number[start:end])
	if err != nil || n+by < 0 {
		return number
	}
	return number[:start] + strconv.Itoa(n+by) + number[end:]
}

// resources adds what would leave enough on a machine that lacks nothing else.
func (r *remedies) resources(m *machine) {
	lacks := r.c.lacks(r.u, m, amounts{})
	if len(lacks) == 1 && lacks[0].free > 0 {
		l := lacks[0]
		r.add(Change{Kind: LowerRequest, Key: resourceNames[l.resource], Amount: l.free, Value: l.amount(l.free, false)})
	}
	r.otherUnits(m, nil)
}

// otherUnits adds the units of a machine that could be what stands in the way.
func (r *remedies) otherUnits(m *machine, problems []Problem) {
	for _, p := range problems {
		if !slices.Contains([]string{RuleConflicts, RuleReplaces, RulePorts, RuleResources}, p.Rule) {
			return
		}
	}
	others := slices.Clone(m.units)
	slices.SortFunc(others, func(a, b *member) int {
		return cmp.Or(slices.Compare(arrayOf(a.class.need(m)), arrayOf(b.class.need(m))), byName(a, b))
	})
	for _, other := range others {
		_, clash := portClash(r.u, other)
		if other == r.u || !other.known || !clash && !conflict(r.u, other) && !replaces(r.u, other) && !replaces(other, r.u) &&
			!(r.u.class.needy && other.class.needy) {
			continue
		}
		if other.on(m).leaving {
			r.add(Change{Kind: AwaitUnit, Other: other.name, Machine: m.ID, Hostname: r.c.name(m)})
		} else {
			r.add(Change{Kind: StopUnit, Other: other.name})
		}
	}
}

func arrayOf(a amounts) []uint64 { return a[:] }

// String writes an explanation for people: a line for each thing that machines
// have against the unit, and what would help.
func (e Explanation) String() string {
	var b strings.Builder
	fits := 0
	at := map[Problem][]string{}
	var said []Problem
	for _, m := range e.Machines {
		if len(m.Problems) == 0 {
			fits++
		}
		for _, p := range m.Problems {
			if at[p] == nil {
				said = append(said, p)
			}
			at[p] = append(at[p], m.Hostname)
		}
	}
	slices.SortStableFunc(said, func(a, b Problem) int { return -cmp.Compare(len(at[a]), len(at[b])) })
	fmt.Fprintf(&b, "%s fits %d of %d machines\n", e.Unit, fits, len(e.Machines))
	for _, p := range said {
		names := strings.Join(at[p], ", ")
		if len(at[p]) > namesMax {
			names = fmt.Sprintf("%d machines", len(at[p]))
		}
		fmt.Fprintf(&b, "  %s: %s (%s)\n", p.Rule, p.Detail, names)
	}
	if e.Change != nil {
		fmt.Fprintf(&b, "It would be placed after one change: %s\n", e.Change)
	}
	return b.String()
}
