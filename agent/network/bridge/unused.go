package bridge

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/network"
)

// unused returns an error that names who has a port of the machine, if a program
// listens there. It tries to listen itself, for a moment.
func unused(f network.Forward) error {
	kind := unix.SOCK_STREAM
	if f.Protocol == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("try port %d/%s: %w", f.Port, f.Protocol, err)
	}
	defer unix.Close(fd)
	if f.Protocol == "tcp" { // closed connections that linger don't count
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("try port %d/%s: %w", f.Port, f.Protocol, err)
		}
	}
	address := &unix.SockaddrInet4{Port: int(f.Port), Addr: [4]byte(f.Address.Bytes())}
	switch err := unix.Bind(fd, address); {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("port %d/%s of the machine is %s's; choose another, or stop that", f.Port, f.Protocol, listener(f))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%s is no address of this machine; see ip address", f.Address)
	case err != nil:
		return fmt.Errorf("try port %d/%s: %w", f.Port, f.Protocol, err)
	}
	return nil
}

// listener names the program that has a port, for a message.
func listener(f network.Forward) string {
	inodes := map[string]bool{}
	for _, family := range []string{"", "6"} {
		file, err := os.Open("/proc/thread-self/net/" + f.Protocol + family)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if inode, ok := socketOn(lines.Text(), f.Port, f.Protocol == "tcp"); ok {
				inodes["socket:["+inode+"]"] = true
			}
		}
		file.Close()
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && inodes[to] {
			pid := strings.Split(link, "/")[2]
			name, err := os.ReadFile("/proc/" + pid + "/comm")
			if err != nil {
				continue
			}
			return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
		}
	}
	return "another program"
}

// socketOn reads a line of /proc/net/tcp or udp: the inode of a socket on a
// local port, of tcp only those that listen.
func socketOn(line string, port uint16, listens bool) (inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return "", false
	}
	_, local, _ := strings.Cut(f[1], ":")
	n, err := strconv.ParseUint(local, 16, 16)
	const listen = "0A"
	return f[9], err == nil && uint16(n) == port && (!listens || f[3] == listen)
}
