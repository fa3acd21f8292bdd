package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/registry"
)

// Config says what is known better than by looking.
type Config struct {
	// Root is where /etc and /proc are looked for; empty is /.
	Root string
	// Hostname is the name the machine is known by; empty asks the kernel.
	Hostname string
	// Address is the IP address other machines reach this one at; empty takes
	// that of the interface with the default route.
	Address string
	// Metadata are the machine's static key=value pairs. The key hostname is
	// always there.
	Metadata map[string]string
	// Systemd is systemd's version; empty leaves that fact out.
	Systemd string
	// Software is clusterd's version.
	Software string
}

// ID reads the machine's identity, machine-id(5).
func ID(root string) (registry.MachineID, error) {
	path := filepath.Join("/", root, "etc/machine-id")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read machine id: %w", err)
	}
	id := strings.ToLower(strings.ReplaceAll(string(bytes.TrimSpace(b)), "-", ""))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return "", fmt.Errorf("read machine id: %s holds no machine id; make one with systemd-machine-id-setup", path)
	}
	return registry.MachineID(id), nil
}

// BootID names the time since the machine was booted: the kernel's boot id, and
// when process 1 began, since machines in containers share one kernel.
func BootID(root string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/", root, "proc/sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	stat, err := os.ReadFile(filepath.Join("/", root, "proc/1/stat"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	// proc_pid_stat(5): starttime is field 22; the name, field 2, may hold blanks.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", errors.New("read boot id: /proc/1/stat has too few fields")
	}
	return strings.TrimSpace(string(b)) + "-" + fields[19], nil
}

// Describe returns the machine's record, without the ports that clusterd adds.
func Describe(c Config) (*registry.Machine, error) {
	hostname := c.Hostname
	if hostname == "" {
		var err error
		if hostname, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("read host name: %w; set Hostname= in clusterd.conf", err)
		}
	}
	address := c.Address
	if address == "" {
		var err error
		if address, err = Address(c.Root); err != nil {
			return nil, err
		}
	} else if net.ParseIP(address) == nil {
		return nil, fmt.Errorf("machine's address: %q is no IP address; correct Address= in clusterd.conf", address)
	}
	metadata := maps.Clone(c.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata["hostname"] = hostname
	return &registry.Machine{
		Version:     registry.RecordVersion,
		Hostname:    hostname,
		Address:     address,
		Metadata:    metadata,
		Facts:       facts(c),
		MemoryBytes: memoryBytes(c.Root),
		Cpus:        uint32(runtime.NumCPU()),
		TasksMax:    tasksMax(c.Root),
		Software:    c.Software,
	}, nil
}

// facts are what a machine is by nature. One that can't be found out is left out.
func facts(c Config) map[string]string {
	f := map[string]string{registry.FactArch: runtime.GOARCH}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		f[registry.FactKernel] = unix.ByteSliceToString(name.Release[:])
	}
	if os := osName(c.Root); os != "" {
		f[registry.FactOS] = os
	}
	if c.Systemd != "" {
		f[registry.FactSystemd] = c.Systemd
	}
	return f
}

// osName is the ID and version of os-release(5), such as debian-12.
func osName(root string) string {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		b, err := os.ReadFile(filepath.Join("/", root, path))
		if err != nil {
			continue
		}
		values := map[string]string{}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[key] = strings.Trim(value, `"'`)
		}
		if id, version := values["ID"], values["VERSION_ID"]; id != "" && version != "" {
			return id + "-" + version
		} else if id != "" {
			return id
		}
	}
	return ""
}

// memoryBytes is the memory the kernel has; 0 when it does not say.
func memoryBytes(root string) uint64 {
	b, err := os.ReadFile(filepath.Join("/", root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// tasksMax is how many processes and threads the kernel allows, by the lower of
// its two bounds, which is what a share in TasksMax= is of; 0 when it does not say.
func tasksMax(root string) uint64 {
	least := uint64(0)
	for _, name := range []string{"pid_max", "threads-max"} {
		b, err := os.ReadFile(filepath.Join("/", root, "proc/sys/kernel", name))
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		if err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}
