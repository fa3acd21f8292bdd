// Package packed keeps many small records in little memory, sorted by key.
//
// Neighbours are alike: the keys of a machine's units share their beginning,
// the records of a template's instances all but a number. A [Map] therefore
// keeps runs of records as one string each, and of each record only what its
// neighbour has otherwise. Runs are never changed, only replaced, so that a
// clone costs next to nothing and stays as it is.
//
// It knows nothing of the registry; what a record means is its caller's matter.
package packed
