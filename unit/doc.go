// Package unit says what a systemd unit file says: its name, its sections and
// keys with their positions, and the [X-Cluster] options that tell the cluster
// where it may run.
//
// A [File] keeps the bytes it was parsed from; nothing is ever re-serialised.
// The package does no I/O and reads no clock; systemd itself has the last word
// on everything outside [X-Cluster]. Syntax: systemd.syntax(7), systemd.unit(5).
package unit
