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
// The directory holds rubbish until Layer returns nil; package image's sessions
// see to it that nobody looks before. [WriteSums] and [CheckSums] find later damage.
package unpack
