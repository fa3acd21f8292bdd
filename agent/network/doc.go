// Package network decides what containers on the machine's bridge get: their
// addresses, their ports of the machine, the rules that lead there. It keeps the
// records that say who has what. It speaks to no kernel: that is package
// [github.com/clusterd/clusterd/agent/network/bridge], which nsrun-network is
// made of, so that nsrun, which reads the records, stays small.
//
// # Records are the truth
//
// A container on the bridge has a record from before anything is made for it
// until after everything is gone. The record names its first process, pid and
// start time, so it is known at any time whether it lives. What must be in the
// kernel is a function of the records of those that live, [Rules]; whoever comes
// by puts the kernel right: a start, rm, ps, the cleanup of a stopped unit.
// Killed at any moment, each of them leaves records by which the next does the
// rest. When the last container has gone, so have the table, the bridge and what
// else was changed.
//
// Records lie below [RunDir], in a directory for each of the
// machine's network name-spaces that nsrun was started in, for each has a bridge
// of its own. One lock is for all of them.
//
// # What a container on the bridge can reach, and who can reach it
//
//   - Containers reach each other by address, on all ports, and the machine and
//     the world through it, under the machine's address.
//   - The machine's loopback is out of reach, whatever is listening there.
//   - From outside only published ports are reached, also by a neighbour who
//     sends packets for a container's own address to the machine.
//   - A published port is to be had on the machine's addresses, or on the one
//     that was named, by the machine itself, too. Published on 127.0.0.1 it is
//     the machine's alone.
//   - The machine listens on none of these ports; packets are led past it. A
//     program that listens on a published port later isn't heard by anybody,
//     and none that listens before loses its port: the start fails and names it.
//
// Where the machine passed no packets on (net.ipv4.ip_forward=0), it does while
// there are containers on the bridge, for those only: other packets, which it
// would have dropped, are dropped. Where it did so already, others are left alone.
// Another firewall's rules hold beside these: docker's, for one, drop what is
// neither from nor to its own containers; there, let this bridge through in the
// chain DOCKER-USER.
//
// Who flushes all rules (nft flush ruleset, a restart of nftables.service) cuts
// published ports off until a container starts, or until nsrun-network reconcile
// --run /run/nsrun is run, which is for such a unit's ExecStartPost=. A unit with
// PrivateNetwork=yes has a bridge of its own that ends with its nsrun: give it
// Network=none.
//
// A container has IPv4 only. There is no name server for containers, as on
// docker's own default bridge: --link puts another one's address of that
// moment into /etc/hosts. An address hangs on the container's name, so that one
// that starts again has the one it had unless that was taken meanwhile.
package network
