// Package engine decides, for the whole cluster, which machine runs which unit.
//
// An [Engine] stands for election; the one that leads follows the registry into
// an index, and for what changed asks engine/placement where it belongs. Each
// answer becomes guarded transactions: none commits once another engine leads,
// or when a record it was decided on has changed. What did not commit is
// decided again.
//
// The deciding is pure: the index takes events, and returns changes for a given
// moment. The shell around it ([Engine.Run]) only waits, for events or for the
// earliest moment at which time alone changes an answer.
//
// Engine never talks to machines. It writes what they are to do, and reads what
// they observe; package agent does the rest.
package engine
