package seccomp

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Filter is what the kernel is to be given.
type Filter struct {
	Code  []unix.SockFilter
	Flags uint32 // of seccomp(2)
}

// Target is what a profile is compiled for.
type Target struct {
	Has    func(capability string) bool // whether the container has it: CAP_CHOWN and so on
	Kernel string                       // the running kernel's version, as uname has it
}

// Compile makes a filter of a profile. Names of calls that this architecture
// hasn't got are left out, as docker does; where that would let a call through
// which the profile means to refuse, it is an error.
//
// Of the rules for one call, one without arguments wins over those with, of
// which the first that fits does; two without that say different things are an
// error. Several comparisons of one argument in one rule are alternatives, as
// runc has it.
func (p *Profile) Compile(t Target) (*Filter, error) {
	running, err := version(t.Kernel)
	if err != nil {
		return nil, err
	}
	flags, err := p.flags()
	if err != nil {
		return nil, err
	}
	listed, err := p.machines(runtime.GOARCH, tables())
	if err != nil {
		return nil, err
	}
	rules := p.rules(runtime.GOARCH, t.Has, running)
	a := newAssembler()
	var parts []part
	for _, m := range listed {
		policy, err := p.policy(rules, m)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{m.audit, policy.assemble(a, m)})
	}
	if err := p.known(rules, tables()); err != nil {
		return nil, err
	}
	whole(a, parts)
	code, _ := a.finish()
	if len(code) > instructionsMax {
		return nil, fmt.Errorf("becomes a filter of %d instructions; the kernel takes %d: use fewer rules with arguments", len(code), instructionsMax)
	}
	return &Filter{Code: code, Flags: flags}, nil
}

// instructionsMax is the kernel's BPF_MAXINSNS.
const instructionsMax = 4096

// machine is a kind of program that a kernel runs.
type machine struct {
	name  string // as archMap has it
	audit uint32
	calls map[string]uint32
	x32   bool // numbers from x32Bit on are x32's
}

// part is the program for one machine.
type part struct {
	audit uint32
	place int
}

// families are the machines of each GOARCH, its own first.
func families(goarch string) []machine {
	switch goarch {
	case "amd64":
		return []machine{
			{name: "SCMP_ARCH_X86_64", audit: unix.AUDIT_ARCH_X86_64, x32: true},
			{name: "SCMP_ARCH_X86", audit: unix.AUDIT_ARCH_I386},
		}
	case "arm64":
		return []machine{
			{name: "SCMP_ARCH_AARCH64", audit: unix.AUDIT_ARCH_AARCH64},
			{name: "SCMP_ARCH_ARM", audit: unix.AUDIT_ARCH_ARM},
		}
	}
	return nil
}

// tables reads the numbers of this architecture's calls and of its 32-bit kin's.
func tables() []map[string]uint32 {
	var all []map[string]uint32
	for _, text := range []string{callsOwn, callsKin} {
		calls := map[string]uint32{}
		for _, entry := range strings.Fields(text) {
			name, number, _ := strings.Cut(entry, "=")
			n, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				panic("a table of calls with " + entry)
			}
			calls[name] = uint32(n)
		}
		all = append(all, calls)
	}
	return all
}

// machines are those whose programs may run: the kernel's own, and what the
// profile lists beside it.
func (p *Profile) machines(goarch string, tables []map[string]uint32) ([]machine, error) {
	all := families(goarch)
	if len(all) == 0 {
		return nil, fmt.Errorf("no filters for %s: there are those for amd64 and arm64", goarch)
	}
	for i := range all {
		all[i].calls = tables[i]
	}
	listed := p.Architectures
	for _, a := range p.ArchMap {
		if a.Arch == all[0].name {
			listed = a.Subs
		}
	}
	out := all[:1]
	for _, m := range all[1:] {
		if slices.Contains(listed, m.name) {
			out = append(out, m)
		}
	}
	return out, nil
}

// privateCalls is where arm's own calls begin, far from the others.
const privateCalls = 0xf0000

// rules are those that count, by the calls' names.
func (p *Profile) rules(goarch string, has func(string) bool, running kernel) map[string][]rule {
	byName := map[string][]rule{}
	for _, r := range p.Syscalls {
		if r.counts(goarch, has, running) {
			for _, name := range r.Names {
				byName[name] = append(byName[name], r)
			}
		}
	}
	return byName
}

// known refuses a profile that names a call nobody knows, to refuse it.
func (p *Profile) known(rules map[string][]rule, tables []map[string]uint32) error {
	if standard, _ := action(p.DefaultAction, p.DefaultErrno); standard != unix.SECCOMP_RET_ALLOW && standard != unix.SECCOMP_RET_LOG {
		return nil // what has no number here is refused in any case
	}
	var names []string
	for name, list := range rules {
		_, own := tables[0][name]
		_, kin := tables[1][name]
		refuses := slices.ContainsFunc(list, func(r rule) bool { return r.Action != "SCMP_ACT_ALLOW" })
		if !own && !kin && refuses {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("means to refuse %s: no call is named so here, and all that isn't refused is allowed; mend the name or take it out", strings.Join(names, ", "))
}

// test is a comparison of arguments, all of which must fit, and its outcome.
type test struct {
	args   []arg
	action uint32
}

// verdict is what happens to one call: the first test that fits decides, else
// the result.
type verdict struct {
	tests []test
	result
}

func (v verdict) String() string {
	text := fmt.Sprintf("%#x/%#x", v.action, v.caps)
	for _, t := range v.tests {
		text += fmt.Sprintf(" %v:%#x", t.args, t.action)
	}
	return text
}

// verdictOf puts the rules for one call together.
func verdictOf(rules []rule, standard uint32) (verdict, error) {
	v := verdict{result: result{action: standard}}
	plain := false
	for _, r := range rules {
		does, err := action(r.Action, r.Errno)
		if err != nil {
			return v, err
		}
		switch {
		case len(r.Args) == 0 && plain && does != v.action:
			return v, errors.New("two rules without arguments say different things; take one of them out")
		case len(r.Args) == 0:
			v.action, plain = does, true
		case repeated(r.Args):
			for _, a := range r.Args {
				v.tests = append(v.tests, test{[]arg{a}, does})
			}
		default:
			v.tests = append(v.tests, test{r.Args, does})
		}
	}
	if plain {
		v.tests = nil
	}
	return v, nil
}

// repeated says whether one argument is compared twice.
func repeated(args []arg) bool {
	for i, a := range args {
		if slices.ContainsFunc(args[:i], func(b arg) bool { return b.Index == a.Index }) {
			return true
		}
	}
	return false
}

// policy is what happens to all calls of a machine.
type policy struct {
	standard uint32             // to those not named
	beyond   uint32             // to those newer than all that are named
	newest   uint32             // of those that are named
	calls    map[uint32]verdict // by number
}

func (p *Profile) policy(rules map[string][]rule, m machine) (*policy, error) {
	standard, err := action(p.DefaultAction, p.DefaultErrno)
	if err != nil {
		return nil, err
	}
	all := &policy{standard: standard, beyond: standard, calls: map[uint32]verdict{}}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		number, ok := m.calls[name]
		if !ok {
			continue
		}
		v, err := verdictOf(rules[name], standard)
		if err != nil {
			return nil, fmt.Errorf("call %s: %w", name, err)
		}
		all.calls[number] = v
	}
	all.newest = p.newest(m)
	if standard&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
		all.beyond = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	return all, nil
}

// newest is the highest number of a call that the profile names, whoever for.
func (p *Profile) newest(m machine) (highest uint32) {
	for _, r := range p.Syscalls {
		for _, name := range r.Names {
			if n, ok := m.calls[name]; ok && n < privateCalls {
				highest = max(highest, n)
			}
		}
	}
	return highest
}

// x32Bit marks the numbers of amd64's second kind of calls.
const x32Bit = 0x40000000

// assemble writes the program for a machine, from its loading the number on.
func (all *policy) assemble(a *assembler, m machine) int {
	places := map[string]int{}
	place := func(v verdict) int {
		key := v.String()
		at, ok := places[key]
		if !ok {
			at = a.verdict(v)
			places[key] = at
		}
		return at
	}
	standard, beyond := verdict{result: result{action: all.standard}}, verdict{result: result{action: all.beyond}}
	var spans []span
	next := uint32(0) // the first number not spoken for yet
	fill := func(upTo uint32) {
		if next <= all.newest && next < upTo {
			spans = append(spans, span{next, place(standard)})
			next = min(upTo, all.newest+1)
		}
		if next < upTo {
			spans = append(spans, span{next, place(beyond)})
			next = upTo
		}
	}
	for _, n := range slices.Sorted(maps.Keys(all.calls)) {
		fill(n)
		spans = append(spans, span{n, place(all.calls[n])})
		next = n + 1
	}
	fill(x32Bit)
	last := beyond
	if m.x32 {
		last = verdict{result: result{action: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}}
	}
	spans = append(spans, span{x32Bit, place(last)})
	return a.before(opLoad, dataNumber, a.tree(spans))
}

// whole writes what comes first: which machine a call is for.
func whole(a *assembler, parts []part) {
	at := a.ret(result{action: unix.SECCOMP_RET_KILL_PROCESS}, 1)
	for _, p := range slices.Backward(parts) {
		at = a.branch(opEqual, p.audit, p.place, at)
	}
	a.before(opLoad, dataArch, at)
}

// verdict writes what decides about one call.
func (a *assembler) verdict(v verdict) int {
	otherwise := a.ret(v.result, 1)
	if set, action, index, ok := v.values(); ok {
		fits := a.ret(result{action: action}, 1)
		spans := []span{{0, otherwise}}
		for _, r := range set {
			if r.from == 0 {
				spans = spans[:0]
			}
			spans = append(spans, span{r.from, fits})
			if r.end <= 0xffffffff {
				spans = append(spans, span{uint32(r.end), otherwise})
			}
		}
		at := a.before(opLoad, dataArgs+8*uint32(index), a.tree(spans))
		at = a.branch(opEqual, 0, at, otherwise)
		return a.before(opLoad, dataArgs+8*uint32(index)+4, at)
	}
	at := otherwise
	for _, t := range slices.Backward(v.tests) {
		no, yes := at, a.ret(result{action: t.action}, 1)
		for _, one := range slices.Backward(t.args) {
			yes = a.compare(one, yes, no)
		}
		at = yes
	}
	return at
}

// valueRange is a range of 32-bit values; end is the first behind it.
type valueRange struct {
	from uint32
	end  uint64
}

// values says whether all tests ask one argument for one of some values, with one
// outcome, as those of socket's families do: that is a tree, too.
func (v verdict) values() (set []valueRange, action uint32, index uint, ok bool) {
	if len(v.tests) < 4 {
		return nil, 0, 0, false
	}
	first := v.tests[0]
	for _, t := range v.tests {
		if len(t.args) != 1 || t.action != first.action || t.args[0].Index != first.args[0].Index || t.args[0].Value > 0xffffffff {
			return nil, 0, 0, false
		}
		switch value := t.args[0].Value; t.args[0].Op {
		case "SCMP_CMP_EQ":
			set = append(set, valueRange{uint32(value), value + 1})
		case "SCMP_CMP_LT":
			if value > 0 {
				set = append(set, valueRange{0, value})
			}
		case "SCMP_CMP_LE":
			set = append(set, valueRange{0, value + 1})
		default:
			return nil, 0, 0, false
		}
	}
	slices.SortFunc(set, func(x, y valueRange) int { return int(int64(x.from) - int64(y.from)) })
	merged := set[:0]
	for _, r := range set {
		if n := len(merged); n > 0 && uint64(r.from) <= merged[n-1].end {
			merged[n-1].end = max(merged[n-1].end, r.end)
			continue
		}
		merged = append(merged, r)
	}
	return merged, first.action, first.args[0].Index, true
}

// Revision counts the changes to what Compile makes of a profile, so that what
// was compiled before isn't taken for what would be now.
const Revision = 1
