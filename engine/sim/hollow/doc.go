// Package hollow measures how the registry and the engine bear large clusters.
//
// Its machines are hollow: real agents over real etcd clients, each with a
// certificate and a connection of its own to a control machine's gate, but with
// a service manager that does everything at once. They live in another process
// than the control machine, which is an etcd member on a real disk, the gate
// and an engine.
//
// There is nothing here but benchmarks, which `make bench-scale` runs.
package hollow
