// Package image keeps OCI images on this machine: which are here, what their
// configuration says and in which directories their layers lie unpacked.
//
// A [Store] is a directory that any number of processes share. It holds
//
//	blobs/sha256/<hex>              indexes, manifests and configurations, byte for byte
//	blueprints/<hex>                what a configuration says, in lines that a start reads quickly
//	layers/<hex>/                   one unpacked layer, named by its diffID, ready as an overlay lower directory
//	layers/<hex>.sums               what was unpacked there, for [Store] users that check it
//	layers/<hex>.frame              the rest of its archive, for those that save it
//	refs/<registry>/<repository>/:<tag>  or  @sha256:<hex>    which manifest a reference stands for
//	leases/<holder>                 names the image a container uses, which is kept while that is there: a hard link to a file in refs/, or a symbolic one that says as much
//	partial/<hex>                   beginnings of blobs, of pulls that were cut off
//	tmp/  lock  locks/              work in progress; advisory locks
//
// Everything is written aside, synced and renamed: a process killed at any
// moment leaves only garbage in tmp/, which the next [Store.Prune] finds. Whiteouts are
// overlay's own: character devices 0:0 and the xattr trusted.overlay.opaque
// (user.overlay.opaque when the store belongs to an ordinary user).
//
// [Store.Collect] removes by age and size; a name whose image a container holds stays.
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
// Which images may come in, and how many are kept, is said by
// /etc/nsrun/policy.conf, read by [ParsePolicy]:
//
//	[Policy]
//	Allow=docker.io/library/*
//	Allow=registry.example:5000
//	Block=docker.io/library/telnet*
//	RequireDigest=yes
//
//	[Store]
//	MaxSize=20G
//	MaxAge=30d
//
// The keys of [Policy], all of them optional:
//
//	Allow=PATTERN       only images whose names match one of these; without any, all
//	Block=PATTERN       but none that matches this, whatever Allow= says
//	RequireDigest=yes   pull and run only what is named with its digest
//	Archives=yes|no     whether files and layouts may bring images; yes unless there is an Allow=
//
// A pattern is HOST or HOST/NAME, in a name's normal form: busybox is
// docker.io/library/busybox. * stands for anything but a slash, ** for anything. What counts
// is the name, not the mirror it is fetched from. pull, run, tag and the names that
// an archive gives its images are asked about; a run also when the image is here already,
// and a tag about both its names: what may not be run may not be renamed to what may.
// RequireDigest= doesn't keep archives out, but to run from them the digest has to be named.
//
// Those of [Store] are kept after each pull and load. What a container holds, what was
// pulled or used within ten minutes and what was just pulled stays whatever they say:
//
//	MaxSize=SIZE        of unpacked layers; the images that were not used for longest go
//	MaxAge=AGE          since an image was pulled or a container of it ended: 30d, 24h
//
// This package is linked into nsrun and so keeps to the standard library
// without net/http. Fetching is package pull's job, reading layers is package unpack's.
package image
