// Command nsrun runs containers without a daemon, by docker's verbs and flags.
//
// Started by systemd, run hands the container's first process over to it and
// exits; in a shell it stays as the parent and gives back the exit code. What
// needs the network, pull and its kin, is the work of nsrun-image, which nsrun
// executes, so that run itself stays small enough to start in a millisecond. So
// does nsrun-network, which connects containers to the machine's bridge.
//
// It is built twice. With the tag lean it has the verbs by which containers start
// and end, and executes nsrun-full for all others: what they take, reading JSON,
// laying out tables, telling what each flag is for, would lie in the memory of
// every start. nsrun-full is the same program built whole; it can stand for nsrun.
package main
