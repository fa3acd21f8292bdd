package placement

import (
	"fmt"
	"strconv"

	"github.com/clusterd/clusterd/unit"
)

// The resources that are counted, as indexes of amounts.
const (
	memory = iota // bytes
	cpu           // thousandths of a CPU
	tasks
	resources
)

// amounts are of each resource.
type amounts [resources]uint64

// amountMax bounds what one unit is taken to need, so that sums don't overflow.
const amountMax = 1 << 50

// need is what a unit needs of a machine. A share is one of what that machine
// has; what is not limited, or limited to infinity, needs nothing.
func (k *class) need(m *machine) amounts {
	var a amounts
	if !k.needy {
		return a
	}
	for i, r := range [resources]unit.Resource{k.needs.Memory, k.needs.CPU, k.needs.Tasks} {
		a[i] = min(r.Of(m.whole[i]), amountMax)
	}
	return a
}

// wholeOf is what a machine has; 0 of what isn't known, which then refuses nothing.
func wholeOf(m Machine) amounts { return amounts{m.Memory, m.CPU, m.Tasks} }

// use counts what a unit uses on a machine, or takes it back.
func (c *Cluster) use(u *member, m *machine, by int) {
	if !u.class.needy {
		return
	}
	for i, n := range u.class.need(m) {
		m.used[i] += uint64(by) * n
	}
	c.room++
	c.rank(m)
}

// resize counts anew what is used on a machine if its size changed.
func (c *Cluster) resize(m *machine) {
	whole := wholeOf(m.Machine)
	if whole == m.whole {
		return
	}
	m.whole, m.used = whole, amounts{}
	for _, u := range m.units {
		for i, n := range u.class.need(m) {
			m.used[i] += n
		}
	}
}

// rank puts a machine at the level of its scarcest resource.
func (c *Cluster) rank(m *machine) {
	if m.registered && m.slot >= 0 {
		c.share.put(m.slot, m.share())
	}
}

// shares is how many levels of the scarcest resource are told apart.
const shares = 1024

// share is how much of its scarcest resource a machine has given away, of
// shares. Anything is one at least, so that a machine with nothing comes first.
func (m *machine) share() int32 {
	most := uint64(0)
	for i, whole := range m.whole {
		if whole > 0 {
			most = max(most, (min(m.used[i], whole)*shares+whole-1)/whole)
		}
	}
	return int32(most)
}

// lack is a resource of which a machine has too little.
type lack struct {
	resource   int
	free, need uint64
}

// lacks says of which resources m has too little for u. gone is what others
// use there that are about to leave.
func (c *Cluster) lacks(u *member, m *machine, gone amounts) []lack {
	if !u.class.needy {
		return nil
	}
	need := u.class.need(m)
	if u.on(m) != nil { // what it has there is its own
		for i := range gone {
			gone[i] += need[i]
		}
	}
	var found []lack
	for i, whole := range m.whole {
		if used := m.used[i] - gone[i]; whole > 0 && need[i] > 0 && used+need[i] > whole {
			found = append(found, lack{i, whole - min(used, whole), need[i]})
		}
	}
	return found
}

func (l lack) String() string {
	free := "no " + resourceNames[l.resource]
	if l.free > 0 {
		free = l.amount(l.free, false)
	}
	return "has " + free + " free, and the unit needs " + l.amount(l.need, true)
}

var resourceNames = [resources]string{"memory", "CPU", "tasks"}

// amount writes an amount of the resource, whole with its name.
func (l lack) amount(n uint64, bare bool) string {
	switch l.resource {
	case memory:
		if text := bytesText(n, bare); bare {
			return text
		} else {
			return text + " of memory"
		}
	case cpu:
		return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64) + " CPU"
	}
	return strconv.FormatUint(n, 10) + " tasks"
}

// bytesText writes bytes with at most one decimal, what is needed rounded up
// and what there is rounded down.
func bytesText(n uint64, up bool) string {
	unit, name := uint64(1), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n < unit*1024 {
			break
		}
		unit, name = unit*1024, next
	}
	tenths := n / unit * 10
	if rest := n % unit * 10; up {
		tenths += (rest + unit - 1) / unit
	} else {
		tenths += rest / unit
	}
	if tenths%10 == 0 {
		return fmt.Sprintf("%d %s", tenths/10, name)
	}
	return fmt.Sprintf("%d.%d %s", tenths/10, tenths%10, name)
}

// left is what a machine has left of each resource; a great deal of what isn't known.
func (m *machine) left() amounts {
	var free amounts
	for i, whole := range m.whole {
		if free[i] = whole - min(m.used[i], whole); whole == 0 {
			free[i] = 1<<64 - 1
		}
	}
	return free
}

// give takes what a unit needs away, if there is as much. One that is on m has
// it already.
func (a *amounts) give(u *member, m *machine) bool {
	if u.on(m) != nil {
		return true
	}
	after := *a
	for i, n := range u.class.need(m) {
		if n > after[i] {
			return false
		}
		after[i] -= n
	}
	*a = after
	return true
}

// needy says whether a unit needs any resource.
func needy(needs unit.Resources) bool {
	for _, r := range [...]unit.Resource{needs.Memory, needs.CPU, needs.Tasks} {
		if r.Amount > 0 || r.Share > 0 {
			return true
		}
	}
	return false
}
