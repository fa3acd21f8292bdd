// Package unpack turns a layer's blob into a directory that overlay can use.
//
// [Layer] reads the blob once: it decompresses, checks both digests, and writes
// files as the archive says, in one go. The archive is a stranger's: whatever it
// says, nothing outside the directory is read, written or even looked at. Every
// path is resolved by the kernel beneath a handle of that directory
// (openat2, RESOLVE_IN_ROOT), so that a link inside a layer leads to
// the layer's own root, as it will in the container. Device nodes are left out;
// the whiteouts that image layers use become overlay's.
//
// # Why not in a child with a root of its own
//
// Unpacking in a process whose root is the layer's directory is what other tools
// came to after many links had led them out. Here a name reaches the kernel in
// two ways only. Directories are opened by openat2 with RESOLVE_IN_ROOT: that is
// chroot for the length of one call, and RESOLVE_NO_MAGICLINKS and
// RESOLVE_NO_XDEV are more than chroot does. Everything else is a single name,
// checked twice to be one, next to a handle got like that, in calls that follow
// no link; what is made is made with O_EXCL or its like. No path is walked twice,
// and nobody else can reach the directory (mode 0700, above it) to change it
// meanwhile. A child would guard against a call added by mistake that takes a
// path, at the price of a process, for an ordinary user a user name-space, too,
// for each layer, while archive and decompressor, in Go, can't be made to run
// anything. So the second wall is a test: more than 300 malicious layers are tried
// with canaries all around (TestB09_MaliciousLayers), beside FuzzLayer.
//
// What a layer may cost is bounded: bytes, their ratio to the blob's, entries,
// directories within directories, memory for what waits until the end.
//
// The directory holds rubbish until Layer returns nil; package image's sessions
// see to it that nobody looks before. [WriteSums] and [CheckSums] find later damage.
package unpack
