// Package etcd keeps the cluster's shared state in etcd v3.
//
// [Store] is the [registry.Store] over a [Connection]: one made with [Dial], to
// an outside etcd or to the gates of control machines, or that of the [Member]
// embedded in this process. [PlanMembership] decides which machines are members,
// [Membership] carries that out.
//
// An embedded member listens for its peers only, with mutual TLS; it has no
// listener for clients. Others come through registry/gate.
package etcd
