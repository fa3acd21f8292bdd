// Package placement decides which machine runs which unit.
//
// A [Cluster] is an index of machines, of units with what they ask for, and of
// what is placed where. [Cluster.Plan] says for some units where they are to
// be, and for those that fit nowhere which rule refuses which machine.
//
// Rules come first: machine state, cordon, drain, MachineID=, MachineMetadata=,
// MachineOf=, Conflicts=, Replaces=, ports, resources, names a machine has for
// itself, its systemd. Then the best of what is left: by Prefer=, by Spread=,
// by what is left of the scarcest resource (for a unit that needs none, by how
// many units are there), and last by the smaller id. What fits where it is never
// moves. Units with a higher Priority= are decided first; none is put out by it.
//
// Resources are what units' own limits, or their Requests=, add up to, with
// those that are leaving, against what the machine has. A share is one of each
// machine's own; infinity, and no limit, count for nothing, as does what isn't
// known of a machine. Sums keep units from coming, and never make them go.
//
// A decision costs about the same whether there are ten machines or ten
// thousand. Machines have slots, in the order of their ids, and what they have
// in common is a [set] of slots: facts, levels of load, and for each pattern of
// Conflicts= and the like who has a unit that matches it, and who one that
// carries it. What units ask for is interned as a class, with the set of
// machines that meet it. The tests hold all this against a plain oracle.
//
// [Cluster.ExplainUnit] gives all that each machine has against a unit, and the
// smallest change that would help; [Cluster.Simulate] what would come of a
// scenario; [Cluster.Wakes] which of the units that wait an event may help.
//
// The package does no I/O and reads no clock: equal inputs give equal plans.
// Reading the registry, and writing what was decided, is package engine's job.
package placement
