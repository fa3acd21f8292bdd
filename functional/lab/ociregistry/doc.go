// Package ociregistry is the lab's image registry: the real protocol over TLS, blobs on disk, an
// authority of its own.
//
// [Serve] runs it on a listener. It keeps its authority in its directory, so that machines
// that trust it go on doing so after a restart, and pushes a busybox image
// made of the host's static busybox. The image is the same, digest
// and all, each time it is made of the same binary.
//
// The registry remembers manifests in memory only: what else was pushed is gone after a restart.
package ociregistry
