package bridge

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/network"
)

// seal is the name of an empty chain by which a table says which ruleset it is:
// as long as it is there nothing need be done, and nobody flushed the table.
func seal(r network.Ruleset) string {
	sum := sha256.Sum256([]byte(r.String()))
	return fmt.Sprintf("seal-%x", sum[:8])
}

func table() *nftables.Table {
	return &nftables.Table{Name: network.Table, Family: nftables.TableFamilyIPv4}
}

// apply puts the table into the kernel in place of the one that is there, in one
// transaction.
func apply(r network.Ruleset) error {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	t := table()
	name := seal(r)
	if found, err := c.ListChain(t, name); err == nil && found != nil {
		return nil
	}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	ports, err := addMap(c, t, "ports", r.Targets, func(n network.Target) bool { return n.Address == 0 }, nftables.TypeInetProto, nftables.TypeInetService)
	if err != nil {
		return err
	}
	addresses, err := addMap(c, t, "addresses", r.Targets, func(n network.Target) bool { return n.Address != 0 }, nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	if err != nil {
		return err
	}
	for _, chain := range r.Chains() {
		added := c.AddChain(&nftables.Chain{
			Name: chain.Name, Table: t, Type: nftables.ChainType(chain.Type),
			Hooknum: hook(chain.Hook), Priority: nftables.ChainPriorityRef(nftables.ChainPriority(chain.Priority)),
		})
		for _, rule := range chain.Rules {
			var exprs []expr.Any
			for _, m := range rule.If {
				exprs = append(exprs, match(m, r.Subnet)...)
			}
			c.AddRule(&nftables.Rule{Table: t, Chain: added, Exprs: append(exprs, verdict(rule.Do, ports, addresses)...)})
		}
	}
	c.AddChain(&nftables.Chain{Name: name, Table: t})
	return c.Flush()
}

// remove removes the table; one that isn't there is no error.
func remove() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.DelTable(table())
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// tabled says whether the table is there.
func tabled() bool {
	c, err := nftables.New()
	if err != nil {
		return false
	}
	t, err := c.ListTableOfFamily(network.Table, nftables.TableFamilyIPv4)
	return err == nil && t != nil
}

func hook(name string) *nftables.ChainHook {
	switch name {
	case "prerouting":
		return nftables.ChainHookPrerouting
	case "forward":
		return nftables.ChainHookForward
	case "output":
		return nftables.ChainHookOutput
	case "postrouting":
		return nftables.ChainHookPostrouting
	}
	panic("a hook that no rule has: " + name)
}

func addMap(c *nftables.Conn, t *nftables.Table, name string, targets []network.Target, in func(network.Target) bool, key ...nftables.SetDatatype) (*nftables.Set, error) {
	m := &nftables.Set{
		Table: t, Name: name, IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(key...),
		DataType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	}
	var elements []nftables.SetElement
	for _, n := range targets {
		if !in(n) {
			continue
		}
		e := nftables.SetElement{Val: append(n.To.Bytes(), port(n.ToPort)...)}
		if n.Address != 0 {
			e.Key = n.Address.Bytes()
		}
		e.Key = append(append(e.Key, protocol(n.Protocol), 0, 0, 0), port(n.Port)...)
		elements = append(elements, e)
	}
	// In one message to the kernel the length of what is nested is written in 16
	// bits; the library doesn't look after that.
	if err := c.AddSet(m, nil); err != nil {
		return nil, err
	}
	const atOnce = 500
	for len(elements) > 0 {
		n := min(atOnce, len(elements))
		if err := c.SetAddElements(m, elements[:n]); err != nil {
			return nil, err
		}
		elements = elements[n:]
	}
	return m, nil
}

// port is a port in a register of 32 bits.
func port(n uint16) []byte { return append(binary.BigEndian.AppendUint16(nil, n), 0, 0) }

func protocol(name string) byte {
	if name == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// Registers: 1 has 16 bytes, which are the 32-bit registers 8 to 11 as well.
const (
	reg   = 1
	word0 = 8
	word1 = 9
)

// Offsets in an IPv4 header.
const (
	source      = 12
	destination = 16
)

func match(m network.Match, subnet network.Prefix) []expr.Any {
	switch m {
	case network.FromBridge:
		return link(expr.MetaKeyIIFNAME, expr.CmpOpEq)
	case network.ToBridge:
		return link(expr.MetaKeyOIFNAME, expr.CmpOpEq)
	case network.NotToBridge:
		return link(expr.MetaKeyOIFNAME, expr.CmpOpNeq)
	case network.FromSubnet:
		return within(source, expr.CmpOpEq, subnet)
	case network.NotFromSubnet:
		return within(source, expr.CmpOpNeq, subnet)
	case network.FromLoopback:
		return within(source, expr.CmpOpEq, network.Prefix{Base: 127 << 24, Bits: 8})
	case network.ToLoopback:
		return within(destination, expr.CmpOpEq, network.Prefix{Base: 127 << 24, Bits: 8})
	case network.ToMachine:
		return []expr.Any{
			&expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		}
	case network.Established:
		return tracked(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
	case network.Published:
		const ipsDstNAT = 1 << 5 // IPS_DST_NAT
		return tracked(expr.CtKeySTATUS, ipsDstNAT)
	}
	panic("a condition of no rule: " + string(m))
}

func link(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, network.Bridge)
	return []expr.Any{&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: name}}
}

func within(offset uint32, op expr.CmpOp, p network.Prefix) []expr.Any {
	mask := ^network.Address(0) << (32 - p.Bits)
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mask.Bytes(), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg, Data: p.Base.Bytes()},
	}
}

func tracked(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}
}

func verdict(v network.Verdict, ports, addresses *nftables.Set) []expr.Any {
	switch v {
	case network.Accept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	case network.Drop:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	case network.Return:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	case network.Masquerade:
		return []expr.Any{&expr.Masq{}}
	case network.ToTarget:
		return translate(ports, word0, nil)
	case network.ToTargetAt:
		return translate(addresses, word1, []expr.Any{
			&expr.Payload{DestRegister: word0, Base: expr.PayloadBaseNetworkHeader, Offset: destination, Len: 4},
		})
	}
	panic("a verdict of no rule: " + string(v))
}

// translate looks a packet's protocol and port up, behind what is loaded before
// them, and sends it to what is found.
func translate(m *nftables.Set, at uint32, before []expr.Any) []expr.Any {
	return append(before,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: at},
		&expr.Payload{DestRegister: at + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetID: m.ID, SetName: m.Name},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: word1},
	)
}
