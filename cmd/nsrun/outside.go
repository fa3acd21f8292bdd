package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/agent/runtime"
)

// outside reads the flags about what the container sees of the world: memory to
// share, the kernel's settings, names, the time zone.
func (o *runOptions) outside() (err error) {
	s := &o.spec
	if o.shmSize != "" {
		if s.ShmBytes, err = parseSize(o.shmSize); err != nil {
			return usageError{fmt.Errorf("--shm-size: %w", err)}
		}
	}
	for _, arg := range o.sysctls {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return usageError{fmt.Errorf("--sysctl=%s: write NAME=VALUE", arg)}
		}
		s.Sysctls = append(s.Sysctls, runtime.Sysctl{Name: name, Value: value})
	}
	for _, arg := range o.hosts {
		line, err := hostsLine(arg)
		if err != nil {
			return usageError{fmt.Errorf("--add-host=%s: %w", arg, err)}
		}
		s.Names.Hosts = append(s.Names.Hosts, line)
	}
	for _, address := range s.Names.Servers {
		if !isAddress(address) {
			return usageError{fmt.Errorf("--dns=%q: that is no address", address)}
		}
	}
	s.Zone, err = zone(o.zone)
	return err
}

// hostsLine turns docker's NAME:ADDRESS, and podman's NAME;NAME:ADDRESS, into a
// line of /etc/hosts.
func hostsLine(arg string) (string, error) {
	at := strings.IndexAny(arg, ":=")
	if at <= 0 {
		return "", errors.New("write NAME:ADDRESS")
	}
	address := strings.TrimSuffix(strings.TrimPrefix(arg[at+1:], "["), "]")
	switch {
	case address == "host-gateway":
		return "", errors.New("there is no gateway to the machine; with --network=host it is 127.0.0.1")
	case !isAddress(address):
		return "", fmt.Errorf("%q is no address", address)
	case !runtime.OneWord(arg[:at]):
		return "", fmt.Errorf("%q is no host name", arg[:at])
	}
	return address + "\t" + strings.ReplaceAll(arg[:at], ";", " "), nil
}

// isAddress says whether s looks like an IP address. (Package netip does it
// better, and costs every start of a container.)
func isAddress(s string) bool {
	if s, zone, zoned := strings.Cut(s, "%"); strings.Count(s, ":") >= 2 {
		return strings.Trim(s, "0123456789abcdefABCDEF:.") == "" && (!zoned || runtime.OneWord(zone))
	}
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if n, err := strconv.ParseUint(p, 10, 8); err != nil || strconv.FormatUint(n, 10) != p {
			return false
		}
	}
	return len(parts) == 4
}

// zoneMax is more than any time zone's file has.
const zoneMax = 64 << 10

// zone returns the file of a time zone of the machine.
func zone(name string) (string, error) {
	file := "/etc/localtime"
	switch {
	case name == "":
		return "", nil
	case name != "local":
		file = filepath.Join("/usr/share/zoneinfo", name)
		if filepath.IsAbs(name) || filepath.Clean(name) != name || strings.HasPrefix(name, "..") {
			return "", usageError{fmt.Errorf("--tz=%s: write it as Area/City, or local", name)}
		}
	}
	info, err := os.Stat(file)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > zoneMax) {
		err = errors.New("that is no file of a time zone")
	}
	if err != nil {
		return "", fmt.Errorf("--tz=%s: this machine has no such time zone in %s; see timedatectl list-timezones, or install tzdata: %w", name, file, err)
	}
	data, err := os.ReadFile(file)
	if err == nil && !strings.HasPrefix(string(data), "TZif") {
		err = fmt.Errorf("%s is no file of a time zone", file)
	}
	if err != nil {
		return "", fmt.Errorf("--tz=%s: %w", name, err)
	}
	return string(data), nil
}

// discarded says why a --publish does nothing with --network=host, as docker
// does. Nothing need be said where it asks for what is so anyway: the program
// listens on the machine itself, and the flag is for whoever reads it.
func discarded(arg string) (why string, err error) {
	ports, protocol, _ := strings.Cut(arg, "/")
	part := strings.Split(ports, ":")
	outside, inside := part[max(0, len(part)-2)], part[len(part)-1]
	switch {
	case !isPorts(inside) || outside != "" && !isPorts(outside):
		return "", errors.New("write PORT or PORT:PORT")
	case protocol != "" && protocol != "tcp" && protocol != "udp" && protocol != "sctp":
		return "", fmt.Errorf("protocol %s: there are tcp, udp and sctp", protocol)
	case outside == inside && len(part) <= 2:
		return "", nil
	}
	return fmt.Sprintf("with --network=host the program itself listens on the machine, on %s or where else it likes", inside), nil
}

// isPorts reads a port, or a row of them, as package unit/container does for
// PublishPort=. It is written twice: what nsrun imports is initialised at every
// start of a container, and units know nothing of agent/runtime. A test holds
// the two together.
func isPorts(s string) bool {
	first, last, row := strings.Cut(s, "-")
	if !row {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	return err1 == nil && err2 == nil && from > 0 && from <= to
}
