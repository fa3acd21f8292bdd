// Package gate lets machines use the cluster's etcd, each within its own rights.
//
// A [Gate] runs on control machines. It speaks etcd's own KV, Watch and Lease
// services, so that an ordinary etcd client works against it, over TLS 1.3 with
// a certificate on both sides. From the client's certificate it knows the machine,
// and [MachineRights] says which keys that machine may read, watch and write, and
// which it may put under a lease. Everything else is refused: other keys,
// open-ended ranges, nested transactions, other machines' leases, and etcd's
// other services.
//
// It keeps no state but for a hint of which leases it has seen; any gate of the
// cluster will do for any call.
package gate
