// Package functional tests the real cluster: it boots machines (package lab),
// and drives and observes them with the built programs only.
//
// Tests that kill nothing share one cluster of three machines; one that breaks
// something boots its own. A test waits for what it wants with a deadline and
// says what it saw last. Root and the programs in bin/ are required:
//
//	make test-functional
package functional
