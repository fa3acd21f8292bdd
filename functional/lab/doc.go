// Package lab boots machines on this host, each with systemd as its process 1,
// and makes a cluster of them.
//
// A machine is a set of namespaces: its own processes, mounts, network, host
// name and cgroups, over a copy-on-write view of the host's root. What the
// host has enabled does not start there; /var, /srv, /home and /root are real
// directories of the machine's own. The machines share a bridge in a network
// namespace of the lab's; there is no way out of it, and the host's own network,
// services and files stay as they are. An OCI registry runs beside the machines.
//
// [Up] boots a lab and [Open] finds one again: nothing of it depends on the
// process that started it. [Lab.Kill] cuts a machine's power, [Lab.Start] boots
// it again from the same directories, [Lab.Down] leaves nothing behind, also
// after a crash half-way, because it works from what it finds on the host.
//
// Machines are started by the program clusterctl (its hidden command lab
// helper), which must lie in [Options].Bin; the package itself works from
// any program, tests included. Only root can use it.
package lab
