// Package image keeps OCI images on this machine: which are here, what their
// configuration says and in which directories their layers lie unpacked.
//
// A [Store] is a directory that any number of processes share. It holds
//
//	blobs/sha256/<hex>              indexes, manifests and configurations, byte for byte
//	layers/<hex>/                   one unpacked layer, named by its diffID, ready as an overlay lower directory
//	layers/<hex>.sums               what was unpacked there, for [Store] users that check it
//	layers/<hex>.frame              the rest of its archive, for those that save it
//	refs/<registry>/<repository>/:<tag>  or  @sha256:<hex>    which manifest a reference stands for
//	leases/<holder>                 a link that names the image a container uses; kept while the lease is there
//	partial/<hex>                   beginnings of blobs, of pulls that were cut off
//	tmp/  lock  locks/              work in progress; advisory locks
//
// Everything is written aside, synced and renamed: a process killed at any
// moment leaves only garbage in tmp/, which the next [Store.Prune] finds. Whiteouts are
// overlay's own: character devices 0:0 and the xattr trusted.overlay.opaque
// (user.overlay.opaque when the store belongs to an ordinary user).
//
// [ParseReference] gives names docker's normal form, busybox being
// docker.io/library/busybox:latest. Which host is then asked is said by
// /etc/nsrun/registries.conf, read by [ParseRegistries]:
//
//	# Ask the machine room's registry for what belongs to docker.io.
//	[Registry docker.io]
//	Location=registry.example:5000
//
//	[Registry registry.example:5000]
//	CAFile=/etc/nsrun/registry-ca.crt
//
// A section "[Registry HOST]" has these keys; lines that begin with # or ; are comments,
// and anything else is an error that names its line:
//
//	Mirror=HOST[/PREFIX]     asked before HOST itself; may stand several times, asked in that order
//	Location=HOST[/PREFIX]   asked instead of HOST
//	CAFile=PATH              PEM file with the authorities trusted for HOST, instead of the system's
//	Insecure=no              the default
//	Insecure=unverified      HOST's certificate is not checked
//	Insecure=plaintext       HOST is spoken to without TLS
//
// This package is linked into nsrun and so keeps to the standard library
// without net/http. Fetching is package pull's job, reading layers is package unpack's.
package image
