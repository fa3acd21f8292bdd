// Package runtime starts programs in name-spaces of their own and takes them
// down again. It is what nsrun is made of.
//
// [Make] turns a [Spec] into a [Plan]: the steps in order, as values that can be
// printed, compared and carried out. The steps behind the gate are compiled to
// a table of raw system calls, and a cloned child works through that table,
// without any Go code, until execve. So there is one Go process only, and when
// it has handed the child over to systemd there is none.
//
// The child waits at the gate, a socket on which the parent sends what it alone
// can make (the root, the volumes: mounts whose ids are mapped) and what it can
// know only then (the user's ids). End of file there means: give up.
//
// [Dir] keeps what must outlive a call: a record and the writable layer of each
// container, its first process (pid and start time, never a bare pid), and the
// id ranges in use. Nothing runs in the background to look after them; every
// verb puts right what it finds dead.
//
// Images are package image's; parsing flags and printing are the command's.
package runtime
