package network

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Address is an IPv4 address, its first byte the highest. (Package netip costs
// every start of a container.)
type Address uint32

// ParseAddress reads four numbers with dots.
func ParseAddress(s string) (Address, error) {
	parts := strings.Split(s, ".")
	var a Address
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil || strconv.FormatUint(n, 10) != p || len(parts) != 4 {
			return 0, fmt.Errorf("%q is no IPv4 address", s)
		}
		a = a<<8 | Address(n)
	}
	return a, nil
}

func (a Address) String() string {
	b := a.Bytes()
	return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3])
}

// Bytes are those of a, as the network has them.
func (a Address) Bytes() []byte { return []byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)} }

// Hardware is the hardware address that goes with a. It hangs on the address, so
// that neighbours who remember one are right about the other, whoever has it.
func (a Address) Hardware() string {
	b := a.Bytes()
	return fmt.Sprintf("02:6e:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// ParseHardware reads six bytes in hexadecimal with colons; they must be one
// station's address.
func ParseHardware(s string) ([]byte, error) {
	parts := strings.Split(s, ":")
	bytes := make([]byte, 0, 6)
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) != 2 || len(parts) != 6 {
			return nil, fmt.Errorf("%q is no hardware address; write six bytes, such as 02:00:00:00:00:01", s)
		}
		bytes = append(bytes, byte(n))
	}
	if bytes[0]&1 != 0 || s == "00:00:00:00:00:00" {
		return nil, fmt.Errorf("%q is no address of a single station; the second digit must be even", s)
	}
	return bytes, nil
}

// Prefix is a network: all addresses with the first Bits bits of Base.
type Prefix struct {
	Base Address
	Bits int
}

// ParsePrefix reads ADDRESS/BITS with room for a bridge and containers.
func ParsePrefix(s string) (Prefix, error) {
	address, bits, _ := strings.Cut(s, "/")
	a, err := ParseAddress(address)
	n, err2 := strconv.Atoi(bits)
	switch {
	case err != nil || err2 != nil:
		return Prefix{}, fmt.Errorf("%q is no network; write such as 10.86.0.0/16", s)
	case n < 8 || n > 29:
		return Prefix{}, fmt.Errorf("%s: between /8 and /29, please", s)
	}
	p := Prefix{a, n}
	if p.Base != a&p.mask() {
		return Prefix{}, fmt.Errorf("%s: write %s/%d", s, a&p.mask(), n)
	}
	return p, nil
}

func (p Prefix) mask() Address { return ^Address(0) << (32 - p.Bits) }

func (p Prefix) String() string { return fmt.Sprintf("%s/%d", p.Base, p.Bits) }

// Contains says whether a is one of p.
func (p Prefix) Contains(a Address) bool { return a&p.mask() == p.Base }

// Overlaps says whether some address is in both.
func (p Prefix) Overlaps(q Prefix) bool { return p.Contains(q.Base) || q.Contains(p.Base) }

// Gateway is the bridge's own address, the first.
func (p Prefix) Gateway() Address { return p.Base + 1 }

// last is the broadcast address.
func (p Prefix) last() Address { return p.Base | ^p.mask() }

// ErrFull says that all addresses are taken.
var ErrFull = errors.New("all addresses are taken")

// Choose returns an address for the container called name: the one it wants, if
// that isn't zero, else the first that is free from a place on that the name
// decides. who says which container has an address, "" none.
func (p Prefix) Choose(name string, wanted Address, who func(Address) string) (Address, error) {
	if wanted != 0 {
		switch {
		case !p.Contains(wanted):
			return 0, fmt.Errorf("address %s is none of the bridge's network %s; choose one of those, or set Subnet= in %s", wanted, p, ConfigFile)
		case wanted == p.Base || wanted == p.last() || wanted == p.Gateway():
			return 0, fmt.Errorf("address %s is the bridge's own, or stands for the whole network %s; choose another", wanted, p)
		case who(wanted) != "":
			return 0, fmt.Errorf("address %s is container %s's; choose another", wanted, who(wanted))
		}
		return wanted, nil
	}
	first := p.Gateway() + 1
	count := p.last() - first
	start := Address(hash(name)) % count
	for i := range count {
		if a := first + (start+i)%count; who(a) == "" {
			return a, nil
		}
	}
	return 0, fmt.Errorf("network %s: %w (%d); set a larger Subnet= in %s", p, ErrFull, count, ConfigFile)
}

// hash picks where to look first, the same place for a name each time.
func hash(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}
