// Package pki holds a cluster's certificates: two authorities, the identities
// they vouch for, join tokens, and the files these lie in on a machine.
//
// The cluster's authority issues the certificates for the API and the gate. Who
// it is about stands in a URI, clusterd://<cluster>/<role>/<name>, never in an
// address: a [Credentials] trusts a peer for its authority, its cluster and its
// role, so that machines may change their addresses. The peer authority issues
// certificates for etcd's members only and is trusted by nothing else.
//
// The package listens nowhere and asks nobody; registry/api hands out
// certificates and spends tokens.
package pki
