package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// ConfigFile is where the bridge's settings are.
const ConfigFile = "/etc/nsrun/network.conf"

// Config is what an operator says of the bridge; it counts when the bridge is
// made, which is when there are no containers on it.
type Config struct {
	Subnet Prefix // zero: one of Subnets that nothing on the machine leads to
	MTU    int    // bytes; zero: as the way out of the machine has it
}

// Subnets are those to choose from, the first that is free.
func Subnets() []Prefix {
	return []Prefix{
		{10<<24 | 86<<16, 16}, {10<<24 | 186<<16, 16}, {172<<24 | 29<<16, 16}, {192<<24 | 168<<16 | 186<<8, 24},
	}
}

// ErrNoSubnet says that the machine has routes into all of Subnets.
var ErrNoSubnet = errors.New("no network is free for containers")

// ChooseSubnet returns the network for a bridge on a machine with these routes.
// One that was configured is taken, unless something leads there already.
func (c Config) ChooseSubnet(routes []Prefix) (Prefix, error) {
	clash := func(p Prefix) (Prefix, bool) {
		for _, r := range routes {
			if r.Bits > 0 && r.Overlaps(p) {
				return r, true
			}
		}
		return Prefix{}, false
	}
	if c.Subnet != (Prefix{}) {
		if r, taken := clash(c.Subnet); taken {
			return Prefix{}, fmt.Errorf("%s: Subnet=%s: this machine has a route to %s already; choose another", ConfigFile, c.Subnet, r)
		}
		return c.Subnet, nil
	}
	for _, p := range Subnets() {
		if _, taken := clash(p); !taken {
			return p, nil
		}
	}
	return Prefix{}, fmt.Errorf("%w: this machine has routes into each of %v; write one that is free into %s, as Subnet= below [Bridge]", ErrNoSubnet, Subnets(), ConfigFile)
}

// LoadConfig reads a configuration file. One that isn't there is empty.
func LoadConfig(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the bridge's settings: %w", err)
	}
	return ParseConfig(file, string(data))
}

// ParseConfig reads the text of a configuration file: a section [Bridge] with
// Subnet= and MTU=, in the form of systemd's files. file is its name in errors.
func ParseConfig(file, text string) (c Config, err error) {
	section := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case line == "[Bridge]":
			section = line
		case line[0] == '[':
			err = fmt.Errorf("unknown section %s; there is [Bridge]", line)
		case section == "" || !ok:
			err = fmt.Errorf("%q: write [Bridge], and settings such as Subnet=10.86.0.0/16 below", line)
		case key == "Subnet":
			c.Subnet, err = ParsePrefix(value)
		case key == "MTU":
			if c.MTU, err = strconv.Atoi(value); err != nil || c.MTU < 576 || c.MTU > 65535 {
				err = fmt.Errorf("MTU=%s: write a number of bytes from 576 to 65535", value)
			}
		default:
			err = fmt.Errorf("unknown key %s=; there are Subnet= and MTU=", key)
		}
		if err != nil {
			return Config{}, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	return c, nil
}
