package registry

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that a record is not there.
	ErrNotFound = errors.New("not in the registry")
	// ErrGuard says that a transaction's guard did not hold; nothing was written.
	ErrGuard = errors.New("the registry changed meanwhile")
	// ErrCompacted says that a watch asked for revisions that are no longer kept:
	// list again and watch from there.
	ErrCompacted = errors.New("revision no longer kept")
	// ErrLeaseGone says that a lease ran out or was revoked.
	ErrLeaseGone = errors.New("lease is gone")
	// ErrNoAnswer says that the registry did not answer in time. Whether a write
	// was done is unknown; a guarded one may be tried again.
	ErrNoAnswer = errors.New("the registry did not answer")
	// ErrRefused says that these credentials may not do this.
	ErrRefused = errors.New("refused")
	// ErrFull says that the registry takes no writes because its space is used up.
	ErrFull = errors.New("the registry is out of space")
	// ErrInvalid says that a request can't be done at any time, by anybody: a
	// key written twice in a transaction, too many operations, too large a value.
	ErrInvalid = errors.New("not a valid request")
	// ErrUnreadable says that a record's value makes no sense to this software.
	ErrUnreadable = errors.New("unreadable record")
)

// Revision is a point in the registry's history; 0 is before everything.
type Revision int64

// LeaseID names a lease; 0 is none.
type LeaseID int64

// Record is one key with its value.
type Record struct {
	Key      string
	Value    []byte // owned by the receiver of the Record; nil in a deletion
	Created  Revision
	Modified Revision
	Lease    LeaseID
}

// Range is the keys from From up to, not including, To. An empty To means the
// single key From.
type Range struct{ From, To string }

// Snapshot is what a Range held at one Revision, sorted by key.
type Snapshot struct {
	Records  []Record
	Revision Revision
}

// Part is some of what a range held at a Revision.
type Part struct {
	Range    Range    // what was looked at
	Records  []Record // all that it held, sorted by key
	Revision Revision
	Last     bool
}

// Listing says how a range is listed.
type Listing struct {
	At       Revision // 0 is one moment not before the call
	KeysOnly bool     // leave the values out
}

// Guard is a condition of a transaction. Exactly one of the two is compared:
// Created when it is set, else Modified, where 0 means that the key is absent.
type Guard struct {
	Key      string
	Created  Revision
	Modified Revision
}

// Op is one write of a transaction: a put of Key, or a deletion of all keys in
// Delete when that is set.
type Op struct {
	Key    string
	Value  []byte
	Lease  LeaseID
	Delete Range
}

// OpsMax is how many operations, and how many guards, a transaction may have.
const OpsMax = 120

// Event is one change of a record. In a deletion, Record has the Key and, in
// Modified, the revision of the deletion.
type Event struct {
	Record
	Deleted bool
}

// Changes are all events of one or more whole revisions, in order. No events
// means that everything up to Revision was delivered. A Changes with Err set
// is the last of its watch.
type Changes struct {
	Events   []Event
	Revision Revision
	Err      error
}

// Store is the cluster's shared state. Keys are relative to the cluster's
// prefix. All errors wrap one of this package's sentinels or the context's.
type Store interface {
	Records
	Watcher
	Leases
}

// Records reads and writes.
type Records interface {
	// Range returns the records of r as of one moment not before the call
	// (linearizable). Keys that aren't there are no error.
	// It is one request, for what is known to be small.
	Range(ctx context.Context, r Range) (Snapshot, error)
	// List hands over what r holds at one Revision in parts, in the order of their
	// keys, which together are all of r. At least one part is handed over, and
	// neither side ever holds more than a few of them. A revision that is no longer kept is
	// ErrCompacted. After any error, go on behind the part told last.
	List(ctx context.Context, r Range, how Listing, each func(Part)) error
	// Commit does all ops in one transaction if all guards hold, else none and
	// returns ErrGuard. It returns the revision after it.
	Commit(ctx context.Context, guards []Guard, ops []Op) (Revision, error)
}

// Watcher tells of changes.
type Watcher interface {
	// Watch delivers the changes of r after a revision, usually that of a
	// Snapshot. The channel is closed after a Changes with Err set, at the
	// latest when ctx ends. A connection lost in between is taken up again
	// without a gap; it is not an error.
	Watch(ctx context.Context, r Range, after Revision) <-chan Changes
	// Progress asks that every watch of this Store be sent a Changes without
	// events once it has been told everything up to now.
	Progress(ctx context.Context) error
}

// Leases lets records end with whoever keeps them.
type Leases interface {
	// Grant makes a lease. An id of 0 lets the registry choose one; a given id
	// that already is a lease's returns it, as KeepAlive does.
	Grant(ctx context.Context, id LeaseID, ttl time.Duration) (LeaseID, error)
	// KeepAlive starts the lease's time anew and returns it, or ErrLeaseGone.
	KeepAlive(ctx context.Context, id LeaseID) (time.Duration, error)
	// Revoke ends the lease and deletes its records.
	Revoke(ctx context.Context, id LeaseID) error
}
