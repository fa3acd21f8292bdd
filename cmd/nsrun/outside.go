package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/clusterd/clusterd/agent/runtime"
	"github.com/clusterd/clusterd/unit/publish"
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
		line, err := o.hostsLine(arg)
		if err != nil {
			return usageError{fmt.Errorf("--add-host=%s: %w", arg, err)}
		}
		if line != "" {
			s.Names.Hosts = append(s.Names.Hosts, line)
		}
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
// line of /etc/hosts. The machine's address on the bridge isn't known yet: those
// names are noted, and there is no line.
func (o *runOptions) hostsLine(arg string) (string, error) {
	at := strings.IndexAny(arg, ":=")
	if at <= 0 {
		return "", errors.New("write NAME:ADDRESS")
	}
	address := strings.TrimSuffix(strings.TrimPrefix(arg[at+1:], "["), "]")
	switch {
	case !runtime.OneWord(arg[:at]):
		return "", fmt.Errorf("%q is no host name", arg[:at])
	case address == "host-gateway":
		switch o.spec.Network {
		case runtime.NetworkHost:
			address = "127.0.0.1"
		case "", runtime.NetworkBridge:
			o.spec.Bridge.Gateway = append(o.spec.Bridge.Gateway, strings.Split(arg[:at], ";")...)
			return "", nil
		default:
			return "", fmt.Errorf("there is no gateway to the machine with --network=%s; use --network=bridge", o.spec.Network)
		}
	case !isAddress(address):
		return "", fmt.Errorf("%q is no address", address)
	}
	return address + "\t" + strings.ReplaceAll(arg[:at], ";", " "), nil
}

// isAddress says whether s looks like an IP address, with a zone or without.
func isAddress(s string) bool {
	address, zone, zoned := strings.Cut(s, "%")
	return publish.IsAddress(address) && (!zoned || strings.Contains(address, ":") && runtime.OneWord(zone))
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
func (o *runOptions) discarded(arg string) (why string) {
	p, err := publish.Parse(arg)
	if o.spec.Network != runtime.NetworkHost || err != nil || p.Address == "" && (p.First == 0 || p.First == p.Inside && p.Last == p.InsideLast) {
		return ""
	}
	p.Address, p.First = "", 0
	return fmt.Sprintf("with --network=host the program itself listens on the machine, on %s or where else it likes", p)
}
