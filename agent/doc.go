// Package agent runs one machine's share of the cluster's units.
//
// [Plan] compares the units assigned to this machine with those it has and
// returns the steps between the two. [Agent] is the shell around it: it follows
// the assignments and the service manager, carries the steps out, each unit by
// itself, and reports what it sees. What it has done is kept under its run
// directory, so that another clusterd goes on where this one ended.
//
// A file that no systemd of this machine's version has looked at is shown to it
// before anything else is done. What it would refuse or ignore makes the machine
// refuse the unit ([Unfit]), as one does whose name it has for itself, and what
// runs here goes on. The engine looks for a machine with another systemd.
//
// Nothing but a step of a plan stops a unit: neither a registry that is gone,
// empty or another cluster's, nor the end of the agent itself.
//
// Agent never decides where a unit runs; that is package engine's job. It talks
// to systemd through [Manager], which agent/systemd implements.
package agent
