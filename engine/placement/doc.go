// Package placement decides which machine runs which unit.
//
// A [Cluster] is an index of machines, of units with their options, and of what
// is placed where. [Cluster.Plan] says for some units where they are to be, and
// for those that fit nowhere which rule refuses which machine. Rules come
// first (machine state, cordon, MachineID=, MachineMetadata=, MachineOf=,
// Conflicts=, names a machine has for itself), then the least loaded machine,
// then the smallest machine id. What fits where it is never moves.
//
// The package does no I/O and reads no clock: equal inputs give equal plans.
// Reading the registry, and writing what was decided, is package engine's job.
package placement
