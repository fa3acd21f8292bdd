// Package registry holds what the cluster knows: its records, the keys they
// lie under, and [Store], the few calls that read, change and watch them.
//
// Store has two implementations, registry/etcd and registry/mem, which pass the
// same conformance suite (registry/storetest), also through registry/gate. The
// leader election, [Campaign], [Follow], which tells what changes and audits
// that it was told, and the in-memory [Copy] are written once, over Store.
//
// Records are protocol buffers (record.proto). The registry decides nothing:
// where a unit runs is package engine's business, what a machine does package
// agent's.
package registry

//go:generate protoc --go_out=.. --go_opt=module=github.com/clusterd/clusterd --proto_path=.. registry/record.proto
