package runtime

import (
	"errors"
	"fmt"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// barrierMax is how long we wait for systemd to have read what we told it. It
// may be busy starting hundreds of units; TimeoutStartSec= ends us before.
const barrierMax = 2 * time.Minute

// PrepareNotify returns the file that NOTIFY_SOCKET names, whatever links lead
// there, for [Spec.Notify].
func PrepareNotify(socket string) (string, error) {
	if !path.IsAbs(socket) {
		return socket, nil // no file; Make refuses it
	}
	real, err := resolve(socket)
	if err != nil {
		return "", fmt.Errorf("NOTIFY_SOCKET=%s: %w", socket, err)
	}
	return real, nil
}

// dialNotify connects to systemd's notification socket. The descriptor is given
// to the child by the clone, so that it can say READY=1 with no path to anything.
func dialNotify(socket string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open notification socket: %w", err)
	}
	// x/sys writes the leading @ of an abstract address as the NUL it stands for.
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to notification socket %s: %w", socket, err)
	}
	return fd, nil
}

// tellMainPID tells systemd the main process and waits until that is read:
// before, its exit would be that of a stranger.
func tellMainPID(notify, pid int) error {
	msg := fmt.Sprintf("MAINPID=%d", pid)
	if err := unix.Sendto(notify, []byte(msg), unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("tell systemd %s: %w", msg, err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make barrier: %w", err)
	}
	defer unix.Close(pipe[0])
	err := unix.Sendmsg(notify, []byte("BARRIER=1"), unix.UnixRights(pipe[1]), nil, unix.MSG_NOSIGNAL)
	unix.Close(pipe[1])
	if err != nil {
		return fmt.Errorf("send BARRIER=1: %w", err)
	}
	// systemd closes its copy when it comes to the message.
	if err := waitReadable(pipe[0], barrierMax); err != nil {
		return fmt.Errorf("wait for systemd to take over process %d: %w", pid, err)
	}
	return nil
}

// waitReadable waits until fd has data, or its other end is closed, or until
// limit has passed.
func waitReadable(fd int, limit time.Duration) error {
	until := time.Now().Add(limit)
	for {
		left := time.Until(until)
		if left < 0 {
			left = 0
		}
		left = min(left, time.Hour) // poll takes 31 bits of milliseconds
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		case time.Until(until) <= 0:
			return fmt.Errorf("nothing in %s", limit)
		}
	}
}
