package gate

import (
	"fmt"

	"github.com/clusterd/clusterd/registry"
)

// Rights are the keys that a machine may use, relative to the cluster's prefix.
type Rights struct {
	Read   []registry.Range // get and watch
	Write  []registry.Range // put without a lease, and delete
	Leased []registry.Range // put under a lease of the machine's own, and delete
}

// MachineRights are what a machine needs to do its work and report it. Nothing
// secret may lie under what they let it read: cluster/ is open to all machines.
func MachineRights(m registry.MachineID) Rights {
	return Rights{
		Read: []registry.Range{
			registry.Prefix(registry.AssignmentsOf(m)),
			registry.Prefix(registry.ObservedOf(m)),
			registry.Prefix(registry.FilesPrefix),
			registry.Prefix(registry.SettingsPrefix + string(m) + "/"),
			registry.Prefix(registry.ClusterPrefix),
			registry.Single(registry.MachineKey(m)),
			registry.Single(registry.AliveKey(m)),
		},
		Write: []registry.Range{
			registry.Prefix(registry.ObservedOf(m)),
			registry.Single(registry.MachineKey(m)),
			registry.Single(registry.AwayKey(m)),
		},
		Leased: []registry.Range{
			registry.Single(registry.AliveKey(m)),
		},
	}
}

// absolute are rights in etcd's own keys.
type absolute struct{ read, write, leased []registry.Range }

func (r Rights) under(prefix string) absolute {
	all := func(ranges []registry.Range) []registry.Range {
		out := make([]registry.Range, len(ranges))
		for i, one := range ranges {
			out[i] = registry.Range{From: prefix + one.From}
			if one.To != "" {
				out[i].To = prefix + one.To
			}
		}
		return out
	}
	return absolute{all(r.Read), all(r.Write), all(r.Leased)}
}

// covers says whether key up to end, in etcd's meaning, lies within one of ranges:
// no end is the single key, and an end of one zero byte has no bound.
func covers(ranges []registry.Range, key, end []byte) bool {
	from, to := string(key), string(end)
	for _, r := range ranges {
		switch {
		case to == "":
			if r.Contains(from) {
				return true
			}
		case r.To == "" || to == "\x00":
			continue
		case r.From <= from && from < to && to <= r.To:
			return true
		}
	}
	return false
}

func (a absolute) mayRead(key, end []byte) bool { return covers(a.read, key, end) }

func (a absolute) mayDelete(key, end []byte) bool {
	return covers(a.write, key, end) || covers(a.leased, key, end)
}

// span names a range in a refusal.
func span(key, end []byte) string {
	switch {
	case len(end) == 0:
		return fmt.Sprintf("%q", key)
	case string(end) == "\x00":
		return fmt.Sprintf("everything from %q", key)
	}
	return fmt.Sprintf("%q to %q", key, end)
}
