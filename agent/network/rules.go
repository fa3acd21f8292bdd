package network

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bridge and Table are the names of what is ours in the kernel.
const (
	Bridge = "nsrun0"
	Table  = "nsrun"
)

// LinkName is the name of the machine's end of a container's cable: "nr-" and
// the first twelve digits of its id, as long as the kernel lets it be.
func LinkName(id string) string { return "nr-" + id[:min(12, len(id))] }

// Ruleset is the table that has to be in the kernel. Equal rulesets are written
// alike.
type Ruleset struct {
	Subnet     Prefix
	DropOthers bool // what is neither from nor to the bridge isn't passed on
	Targets    []Target
}

// Target leads a port of the machine's to a container.
type Target struct {
	Address  Address // of the machine; zero: all it has
	Protocol string
	Port     uint16
	To       Address
	ToPort   uint16
}

// Rules returns the ruleset for the containers that live. It goes by their
// records only, and not by their order.
func Rules(subnet Prefix, dropOthers bool, live []Record) Ruleset {
	r := Ruleset{Subnet: subnet, DropOthers: dropOthers}
	for _, c := range live {
		for _, f := range c.Ports {
			r.Targets = append(r.Targets, Target{f.Address, f.Protocol, f.Port, c.Address, f.Inside})
		}
	}
	slices.SortFunc(r.Targets, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.To, b.To))
	})
	return r
}

// Chain is a base chain.
type Chain struct {
	Name, Type, Hook string
	Priority         int
	Rules            []Rule
}

// Rule does something with the packets for which all of If hold.
type Rule struct {
	If []Match
	Do Verdict
}

// Match is a condition, Verdict what happens; each is written as nft(8) has it,
// SUBNET standing for the bridge's network.
type (
	Match   string
	Verdict string
)

// All the conditions and verdicts there are.
const (
	FromBridge    Match = `iifname "` + Bridge + `"`
	ToBridge      Match = `oifname "` + Bridge + `"`
	NotToBridge   Match = `oifname != "` + Bridge + `"`
	FromSubnet    Match = "ip saddr SUBNET"
	NotFromSubnet Match = "ip saddr != SUBNET"
	FromLoopback  Match = "ip saddr 127.0.0.0/8"
	ToLoopback    Match = "ip daddr 127.0.0.0/8"
	ToMachine     Match = "fib daddr type local"
	Established   Match = "ct state established,related"
	Published     Match = "ct status dnat"

	Accept     Verdict = "accept"
	Drop       Verdict = "drop"
	Return     Verdict = "return"
	Masquerade Verdict = "masquerade"
	ToTarget   Verdict = "dnat ip to meta l4proto . th dport map @ports"
	ToTargetAt Verdict = "dnat ip to ip daddr . meta l4proto . th dport map @addresses"
)

func rule(do Verdict, matches ...Match) Rule { return Rule{matches, do} }

// Chains are those of the table.
func (r Ruleset) Chains() []Chain {
	forward := []Rule{
		rule(Accept, FromBridge, ToBridge),
		// In come answers, and what a published port was the way for. Else a
		// neighbour could reach containers by their own addresses.
		rule(Accept, ToBridge, Established),
		rule(Accept, ToBridge, Published),
		rule(Drop, ToBridge),
		rule(Accept, FromBridge),
	}
	if r.DropOthers {
		forward = append(forward, rule(Drop))
	}
	return []Chain{
		// Before anything is translated: the bridge lets packets with loopback's
		// addresses pass (route_localnet), for the machine's own sake only.
		{"early", "filter", "prerouting", -300, []Rule{
			rule(Drop, FromBridge, ToLoopback),
			rule(Drop, FromBridge, NotFromSubnet),
		}},
		// A packet for 127.0.0.1 that comes by a cable is nobody's; translated it
		// would reach what is published on 127.0.0.1.
		{"from-outside", "nat", "prerouting", -100, []Rule{
			rule(Return, ToLoopback),
			rule(ToTargetAt),
			rule(ToTarget, ToMachine),
		}},
		{"from-machine", "nat", "output", -100, []Rule{
			rule(ToTargetAt),
			rule(ToTarget, ToMachine),
		}},
		// The last two: an answer must come back this way, and not by the bridge
		// straight from one container to the other.
		{"leaving", "nat", "postrouting", 100, []Rule{
			rule(Masquerade, NotToBridge, FromSubnet),
			rule(Masquerade, ToBridge, FromLoopback),
			rule(Masquerade, ToBridge, FromSubnet, Published),
		}},
		{"passing", "filter", "forward", 0, forward},
	}
}

// String is the ruleset as nft(8) reads it. Package bridge makes the same of it by
// netlink; a test compares the two.
func (r Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table ip %s {\n", Table)
	r.writeMap(&b, "ports", "inet_proto . inet_service", func(t Target) bool { return t.Address == 0 })
	r.writeMap(&b, "addresses", "ipv4_addr . inet_proto . inet_service", func(t Target) bool { return t.Address != 0 })
	for _, c := range r.Chains() {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %d;\n", c.Name, c.Type, c.Hook, c.Priority)
		for _, rule := range c.Rules {
			var words []string
			for _, m := range rule.If {
				words = append(words, strings.ReplaceAll(string(m), "SUBNET", r.Subnet.String()))
			}
			fmt.Fprintf(&b, "\t\t%s\n", strings.Join(append(words, string(rule.Do)), " "))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (r Ruleset) writeMap(b *strings.Builder, name, key string, in func(Target) bool) {
	fmt.Fprintf(b, "\tmap %s {\n\t\ttype %s : ipv4_addr . inet_service\n", name, key)
	var elements []string
	for _, t := range r.Targets {
		if !in(t) {
			continue
		}
		text := fmt.Sprintf("%s . %d : %s . %d", t.Protocol, t.Port, t.To, t.ToPort)
		if t.Address != 0 {
			text = t.Address.String() + " . " + text
		}
		elements = append(elements, text)
	}
	if len(elements) > 0 {
		fmt.Fprintf(b, "\t\telements = { %s }\n", strings.Join(elements, ",\n\t\t\t"))
	}
	b.WriteString("\t}\n")
}
