// Command clusterd is a machine's part in the cluster: the agent, gossip and the
// local API everywhere; on control machines also the etcd member, the gate, the
// engine candidate and the API's copy of the cluster's state.
//
// This package is wiring: it reads the configuration, connects the packages that
// do the work and tells systemd how it goes. clusterd init makes a cluster,
// clusterd join TOKEN brings a machine in.
package main
