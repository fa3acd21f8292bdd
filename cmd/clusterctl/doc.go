// Clusterctl is the operator's program: it hands unit files to the cluster,
// changes what shall become of units, and shows what did.
//
// It decides nothing: it asks the API (package registry/api), waits for what
// the machines report ([goal]) and turns errors into exit codes ([exitCode]).
// Run `clusterctl help` for its commands.
package main
