// Package archive carries images between this machine's store and files: what
// docker save writes, tar files of an OCI layout, and directories in that layout.
//
// [Open] gives the images that a file holds, [Loader.Load] brings them into the store, [Save]
// writes them out. An archive is a stranger's: only names inside of it are ever
// looked up, links in it lead to other names in it, and a name that stands there
// twice is refused, as is one with "..". Every blob of an OCI layout is checked by its
// digest and size; docker's form has no digests but the configuration's (in its
// name) and the layers' diffIDs (in the configuration), and those are checked.
//
// Saved images have the same configuration, that is docker's image id, and
// layers with the same diffIDs; the layers are not compressed and the manifest
// is a new one, as with docker save.
package archive
