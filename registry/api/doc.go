// Package api serves the cluster's state over HTTP: the server that control
// machines run, the client that clusterctl uses, and the JSON types between.
//
// Everything lies under /clusterd/v1. Locally it is reached through a unix
// socket, where the caller's credentials come from the kernel, remotely with
// mutual TLS, where they come from the certificate. What the API needs of a
// machine (its journal, its systemd's words) it declares as an interface;
// cmd/clusterd wires it.
//
// A unit file that is new is checked before anything is written: by package
// unit, for the systemd of the machines the unit may come to, and then by the
// real systemd of one of these, whose version is kept with the unit. A machine
// with another version looks for itself before the unit starts; see package
// agent.
package api
