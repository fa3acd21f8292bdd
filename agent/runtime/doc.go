// Package runtime starts programs in name-spaces of their own and takes them
// down again. It is what nsrun is made of.
//
// [Make] turns a [Spec] into a [Plan]: the steps in order, as values that can be
// printed, compared and carried out. The new process' steps are compiled to a
// table of raw system calls, and a cloned child works through that table,
// without any Go code, until execve. So there is one Go process only, and when
// it has handed the child over to systemd there is none. The child works in its
// parent's memory, as after vfork, but the parent goes on.
//
// The child waits at the gate, a socket on which the parent sends what it alone
// can make (the root, the volumes: mounts whose ids are mapped) and what it can
// know only then (the user's ids). End of file there means: give up. While the
// parent makes these the child makes what it can itself, /proc, /sys and /dev; it
// does so as soon as its own ids are mapped. Without root it makes all itself,
// behind the gate.
//
// [Dir] keeps what must outlive a call: a record and the writable layer of each
// container, its first process (pid and start time, never a bare pid), and the
// id ranges in use. Nothing runs in the background to look after them; every
// verb puts right what it finds dead. A start has the next container's directory
// ready in spare/, and makes that, while its program begins, of the directory of
// one that ended without having written anything: see spare.go.
//
// # What keeps the program in
//
// Its name-spaces, the user's first of all; eleven capabilities in the bounding
// set and none to inherit; no_new_privs; the system call filter, for which see
// package seccomp; mounts with nosuid and nodev; a /dev of our own, and a /proc
// and /sys in which what tells about the machine is hidden and what steers it is
// read-only. [Security] and what a Spec has masked are all that changes it, and
// the record keeps that for who joins later. All is set in the child's last
// steps, the filter as the very last.
//
// # Why no exit code is lost
//
// systemd knows a unit's result by waiting for the main process, and it can wait
// for its children only. Three things can go wrong, and none does:
//
//   - The program ends before systemd knows that it is the main process, so that
//     its exit passes for a stranger's. It can't: it is not run before the gate
//     opens, and that is after systemd has closed the descriptor of BARRIER=1. It
//     reads its messages in order, so it has read MAINPID= by then.
//   - systemd can't wait for it. It can: CLONE_PARENT makes it a child of systemd
//     from birth, not from the moment on when nsrun ends.
//   - nsrun's own exit is taken for the unit's. Once MAINPID= is read nsrun is no
//     longer the main process. If it ends earlier, killed say, its end of the gate
//     closes; the child reads end of file and exits with 125. Whichever of the two
//     systemd takes for the main process then has failed, as the start has.
//
// The record of the process is written before MAINPID= is sent: whoever sees the
// unit as started finds the container, to stop it.
//
// # Without root
//
// An ordinary user has one id to map, and may mount only inside the user
// name-space. So the child makes the root itself; see makeOverlay.compile. In
// there that id is root, and all of an image's files are root's, whoever owns
// them elsewhere: pulling as a user leaves owners, device nodes and file
// capabilities out. For --user, or an image that names a user, the id is that
// user's, and the files are its own. What needs two ids can't be: a program that
// starts as root and becomes somebody else, chown, supplementary groups. There is
// no network but loopback, or the machine's.
//
// # How something joins a container
//
// [Dir.Hold] holds on to one that runs, [MakeExec] plans, [Target.Exec] carries
// out. Between joining a container's processes and execve a process is in
// reach of those: they may look for it in /proc, trace it, open its file. So
// nothing of nsrun's goes there. The steps are compiled to a table as for a
// start, the table is put into a file in memory, sealed, that is a program of
// its own of some kilobytes (a carrier), and a cloned child, still out of the container's
// sight, becomes that. It joins the name-spaces, closes what it needn't have,
// takes on the container's rights for good, system call filter and all, and only
// then clones the process that the container sees, as nsrun's child. In that
// there is nothing to be had: its file can't be written to and isn't nsrun's, its
// memory holds what it is to run, and it may do what the container may.
//
// A process that joins ends with its nsrun, is in the cgroup of the container's
// unit, and has the limits of the container's first process.
//
// # What the kernel must be able to do
//
// Debian 12 (Linux 6.1) and Ubuntu 24.04 (6.8) have all that is needed; Ubuntu
// 22.04 (5.15) with --userns=host. What is there is found out by trying, never
// from the version; see [LookAtHost], and [Dir.Features], which nsrun info shows.
//
//	call or feature                      since  without it
//	open_tree, move_mount, fsopen          5.2  nothing starts; the message names 5.12
//	pidfd_open                             5.3  no stop, no kill
//	clone3 with CLONE_CLEAR_SIGHAND        5.5  clone; the child forgets Go's signal handlers one by one
//	openat2                                5.6  nothing starts; the message names 5.12
//	clone3 into a cgroup                   5.7  exec moves to the container's, which may take 10 ms
//	setns by pidfd                         5.8  no exec; stop of a deaf program waits
//	close_range with CLOEXEC              5.11  descriptors are closed one by one
//	overlay in a user name-space          5.11  without root there is --rootfs DIR only
//	mount_setattr                         5.12  nothing starts; the message says so
//	mapped ids                            5.12  --userns=host (ext4; xfs 5.13, btrfs 5.15, tmpfs 6.3)
//	overlay over mapped layers            5.19  images need --userns=host; the message says so
//	overlay over detached mounts          6.15  layers go by path, 127 at most: see [LayersByPath]
//	execveat with AT_EXECVE_CHECK         6.14  a damaged program is noticed after READY=1 only
//
// # Cgroups
//
// A container stays in the cgroup that nsrun was started in, its unit's, and that
// has the limits, whichever layout a machine has. Where /sys/fs/cgroup is cgroup
// v2 a container sees its own part of the tree there, read-only. With v1, with
// both (systemd's hybrid), and with none it is an empty directory: a view of v1
// would take a mount for each controller, and programs that look for their limits
// find none rather than the machine's.
//
// Images are package image's; parsing flags and printing are the command's.
package runtime
