// Package api serves the cluster's state over HTTP: the server that control
// machines run, the client that clusterctl uses, and the JSON types between.
//
// Everything lies under /clusterd/v1. Locally it is reached through a unix
// socket, where the caller's credentials come from the kernel, remotely with
// mutual TLS, where they come from the certificate. What the API needs of a
// machine (its journal, its systemd's words) it declares as an interface;
// cmd/clusterd wires it.
package api
