// Package pull brings images from registries into this machine's store.
//
// A [Puller] asks the sources that registries.conf names, in order, and takes
// nothing on trust: the digest of an index or a manifest pins the
// next document, that pins the layers, and every one is hashed before it is believed. A layer is unpacked while it
// arrives and appears in the store only when both of its digests were right; the
// name appears last. So a pull that fails or is killed changes nothing that
// can be seen, and the next one goes on with the layers that were finished.
//
// Package image keeps what was pulled, package unpack knows archives.
package pull

import _ "crypto/sha256" // for image.DigestOf
