package bridge

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/network"
)

// Check says whether this machine can have a bridge and its rules: it makes them
// in a network name-space that is gone when it returns.
func Check() error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread and its network end with this goroutine.
		runtime.LockOSThread()
		done <- check()
	}()
	return <-done
}

func check() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network to try it in: %w", unavailable(err))
	}
	k, err := open()
	if err != nil {
		return err
	}
	defer k.close()
	s, err := k.choose(network.Config{})
	if err != nil {
		return err
	}
	some := network.Record{Address: s.Subnet.Gateway() + 1, Ports: []network.Forward{{Port: 80, Protocol: "tcp", Inside: 80}}}
	return k.install(s, []network.Record{some}, nil, network.Record{})
}
