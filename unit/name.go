package unit

// Name is a unit's full name, such as web@1.service. Make one with ParseName.
type Name string

// Hash is the SHA-256 of a unit file's bytes, in lower-case hex.
type Hash string
