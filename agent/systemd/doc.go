// Package systemd runs an agent's steps on systemd, over D-Bus.
//
// [Driver] implements agent.Manager. It speaks to systemd's private socket where
// that can be reached, else over the system bus, learns what happens to units
// from signals alone, and takes the connection up again after systemd or D-Bus
// was restarted. It never reads all properties of a unit, and never lists units
// again and again.
//
// Unit files lie in /run/systemd/system, each with at most one drop-in. The
// driver writes only where the machine itself has no unit of that name; which
// files there are the cluster's, the agent knows.
//
// For the API, the driver asks systemd's own programs: journalctl, systemctl
// status, and systemd-analyze verify of files that may never be run.
package systemd
