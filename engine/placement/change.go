package placement

import (
	"fmt"
	"maps"
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// ChangeKind is what a Change changes.
type ChangeKind int

// The kinds of changes, the smaller before the larger: first what takes only
// patience, then what an operator says of a machine, then what a machine is,
// what the unit asks for, and last what happens to other units.
const (
	AwaitUnit       ChangeKind = iota // Other is still stopping on Machine
	Uncordon                          // Machine
	EndDrain                          // of Machine
	FreeName                          // remove Machine's own file at Value
	SetMetadata                       // Key=Value on Machine
	RemoveMetadata                    // Key on Machine
	BringBack                         // Machine, which isn't ready
	LowerRequest                      // of resource Key, to Amount, as Value writes it
	DropRequirement                   // Value, of the unit's MachineMetadata=
	DropMachineID
	DropMachineOf // Value, as are the next two
	DropReplaces
	DropConflicts
	StopUnit       // Other
	UpgradeSystemd // of Machine, to Amount
	changeKinds
)

// Change is one thing that could be done.
type Change struct {
	Kind       ChangeKind
	Unit       unit.Name // the one that is to be placed
	Machine    registry.MachineID
	Hostname   string // of Machine
	Other      unit.Name
	Key, Value string
	Amount     uint64
}

// String says what to do.
func (ch Change) String() string {
	switch ch.Kind {
	case Uncordon:
		return "uncordon " + ch.Hostname
	case EndDrain:
		return "end the drain of " + ch.Hostname
	case FreeName:
		return "remove " + ch.Value + " from " + ch.Hostname
	case SetMetadata:
		return "set " + ch.Key + "=" + ch.Value + " in the metadata of " + ch.Hostname
	case RemoveMetadata:
		return "remove " + ch.Key + " from the metadata of " + ch.Hostname
	case BringBack:
		return "bring " + ch.Hostname + " back"
	case LowerRequest:
		return "let " + string(ch.Unit) + " need no more than " + ch.Value
	case DropRequirement:
		return "take MachineMetadata=" + ch.Value + " out of " + string(ch.Unit)
	case DropMachineID:
		return "take MachineID=" + ch.Value + " out of " + string(ch.Unit)
	case DropMachineOf:
		return "take MachineOf=" + ch.Value + " out of " + string(ch.Unit)
	case DropReplaces:
		return "take Replaces=" + ch.Value + " out of " + string(ch.Unit)
	case DropConflicts:
		return "take Conflicts=" + ch.Value + " out of " + string(ch.Unit)
	case AwaitUnit:
		return "wait until " + string(ch.Other) + " has stopped on " + ch.Hostname
	case StopUnit:
		return "stop " + string(ch.Other)
	case UpgradeSystemd:
		return fmt.Sprintf("upgrade systemd on %s to %d", ch.Hostname, ch.Amount)
	}
	return "no change"
}

// changeable is what a Change is applied to: a Cluster, or the tests' oracle.
type changeable interface {
	Machine(id registry.MachineID) (Machine, bool)
	SetMachine(to Machine)
	Unit(name unit.Name) Unit
	SetUnit(to Unit)
	DropUnit(name unit.Name)
	Places(name unit.Name) map[registry.MachineID]Place
	Put(id registry.MachineID, name unit.Name, p Place)
	Take(id registry.MachineID, name unit.Name)
	SetTaken(id registry.MachineID, name unit.Name, path string)
}

// applyTo makes the change, and returns what takes it back.
func (ch Change) applyTo(c changeable) (undo func()) {
	switch ch.Kind {
	case Uncordon, EndDrain, SetMetadata, RemoveMetadata, BringBack, UpgradeSystemd:
		was, _ := c.Machine(ch.Machine)
		c.SetMachine(ch.machine(was))
		return func() { c.SetMachine(was) }
	case FreeName:
		c.SetTaken(ch.Machine, ch.Unit, "")
		return func() { c.SetTaken(ch.Machine, ch.Unit, ch.Value) }
	case AwaitUnit:
		was := c.Places(ch.Other)[ch.Machine]
		c.Take(ch.Machine, ch.Other)
		return func() { c.Put(ch.Machine, ch.Other, was) }
	case StopUnit:
		was, places := c.Unit(ch.Other), c.Places(ch.Other)
		for id := range places {
			c.Take(id, ch.Other)
		}
		c.DropUnit(ch.Other)
		return func() {
			c.SetUnit(was)
			for id, p := range places {
				c.Put(id, ch.Other, p)
			}
		}
	}
	was := c.Unit(ch.Unit)
	c.SetUnit(ch.unit(was))
	return func() { c.SetUnit(was) }
}

// machine is a machine after the change.
func (ch Change) machine(m Machine) Machine {
	switch ch.Kind {
	case Uncordon:
		m.Cordoned = false
	case EndDrain:
		m.Cordoned, m.Drained = false, false
	case BringBack:
		m.State, m.Why = Ready, ""
	case UpgradeSystemd:
		m.Systemd = fmt.Sprint(ch.Amount)
	case SetMetadata, RemoveMetadata:
		metadata := map[string]string{}
		maps.Copy(metadata, m.Metadata)
		if delete(metadata, ch.Key); ch.Kind == SetMetadata {
			metadata[ch.Key] = ch.Value
		}
		m.Metadata = metadata
	}
	return m
}

// unit is the unit that is to be placed after the change.
func (ch Change) unit(u Unit) Unit {
	o := &u.Options
	without := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == ch.Value })
	}
	switch ch.Kind {
	case DropRequirement:
		o.Requirements = slices.DeleteFunc(slices.Clone(o.Requirements), func(r unit.Requirement) bool { return r.String() == ch.Value })
	case DropMachineID:
		o.MachineID = ""
	case DropMachineOf:
		o.MachineOf = without(o.MachineOf)
	case DropReplaces:
		o.Replaces = without(o.Replaces)
	case DropConflicts:
		o.Conflicts = without(o.Conflicts)
	case LowerRequest:
		lower := unit.Resource{Amount: ch.Amount}
		switch ch.Key {
		case resourceNames[memory]:
			u.Needs.Memory = lower
		case resourceNames[cpu]:
			u.Needs.CPU = lower
		case resourceNames[tasks]:
			u.Needs.Tasks = lower
		}
	}
	return u
}

// Machine returns what is known of a registered machine.
func (c *Cluster) Machine(id registry.MachineID) (Machine, bool) {
	if m := c.machines[id]; m != nil && m.registered {
		return m.Machine, true
	}
	return Machine{}, false
}
