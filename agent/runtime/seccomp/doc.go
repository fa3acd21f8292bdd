// Package seccomp turns docker's system call profiles into the programs that
// the kernel runs at each system call.
//
// [Builtin] is moby's default profile, compiled when nsrun is built: an
// allow-list with one program for each architecture, in which the verdicts that
// hang on a capability are filled in at the start. [Parse] and [Profile.Compile]
// do the same for a profile somebody wrote, in docker's JSON.
//
// A program is a binary tree over ranges of system call numbers: a call takes
// about eight comparisons, and the kernel (since 5.11) keeps a bitmap of the
// calls that are allowed whatever their arguments, for which it runs no program
// at all.
//
// # What it does beside what the profile says
//
//   - A call newer than all that the profile names answers ENOSYS, so that a
//     program falls back to an older one, where the profile refuses what it
//     doesn't name.
//   - A program of a foreign architecture is killed at its first call. 32-bit
//     ones (i386 on amd64, arm on arm64) run where the profile lists them, as
//     moby's does, under the same rules for the numbers of their own.
//   - amd64's x32 numbers answer ENOSYS, as on a kernel built without them: no
//     distribution uses them, and they are one more way to each call.
//
// [Builtin] is stricter than moby's profile in this:
//
//   - ioctl TIOCSTI and TIOCLINUX, by which a program types into the terminal it
//     shares with others, answer EPERM.
//   - i386's socketcall(SOCKET), whose arguments no filter can see, answers EPERM:
//     by it AF_ALG and AF_VSOCK, which the profile refuses, were within reach of
//     every program, for a 64-bit one can make i386's calls, too. 32-bit programs
//     call socket itself where their libc is built for Linux 4.3 or newer; for one
//     that isn't there is a profile of one's own.
package seccomp
