// Package mem is the cluster's shared state in memory: a [registry.Store] for
// tests and for the simulation of whole clusters.
//
// [Store] behaves as registry/etcd does, which registry/storetest checks for
// both. It is deterministic: lease ids count up, watches deliver in order, and
// the only clock is package time's, so that testing/synctest can drive it.
// Nothing is kept on disk.
package mem
