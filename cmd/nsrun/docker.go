package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/agent/runtime"
)

// dockerFlags are those of run that came with docker and are wanted seldom.
func dockerFlags(o *runOptions) []flag {
	return []flag{
		{long: "init", set: boolean(&o.spec.Init), about: "have a first process that reaps what ends and passes signals on"},
		{long: "ulimit", text: o.ulimit, arg: "NAME=SOFT[:HARD]", about: "a limit of setrlimit(2), such as nofile=1024:4096 (default: the unit's)"},
		{long: "oom-score-adj", text: o.oomScore, arg: "N", about: "how soon the kernel kills it when memory runs out, -1000 to 1000"},
		{long: "ipc", text: o.ipc, arg: "private|none|host", about: "shared memory and queues: its own (default), no /dev/shm, or the machine's"},
		{long: "uts", text: o.uts, arg: "host", about: "host: the machine's host name"},
		{long: "cgroupns", text: o.cgroupns, arg: "private|host", about: "host: see the machine's whole tree of cgroups"},
		{long: "volumes-from", text: list(&o.volumesFrom), arg: "NAME[:ro]", about: "all volumes of another container"},
		{long: "read-only-tmpfs", set: boolean(&o.readOnlyTmpfs), about: "with --read-only: have /run, /tmp and /var/tmp in memory"},
		{long: "cidfile", text: text(&o.cidFile), arg: "FILE", about: "write the container's id to a new file"},
		{long: "label-file", text: o.labelFile, arg: "FILE", about: "labels from a file, one a line"},
		{long: "platform", text: text(&o.platform), arg: "OS/ARCH", about: "run the image for this platform, this machine's own"},
		{long: "quiet", short: 'q', set: boolean(&o.quiet), about: "say nothing while an image is pulled"},
		{long: "log-driver", text: logDriver},
		{long: "log-opt", text: logOption},
		{long: "restart", text: restartPolicy},
		{long: "runtime", text: o.otherRuntime},
		{long: "pid", text: pidMode},
		{long: "no-healthcheck", set: func(bool) {}},
		{long: "disable-content-trust", set: func(bool) {}},
		{long: "oom-kill-disable", set: nil, why: systemdDoes("ManagedOOMPreference= or OOMPolicy=")},
	}
}

func systemdDoes(setting string) string {
	return "systemd does that: put " + setting + " into the unit"
}

// unitFlags are docker's for what a unit has settings for.
func unitFlags() (flags []flag) {
	for _, f := range []struct{ setting, names string }{
		{"CPUQuota= or CPUWeight=", "cpus cpu-shares cpu-quota cpu-period cpu-rt-period cpu-rt-runtime cpu-count cpu-percent"},
		{"AllowedCPUs=", "cpuset-cpus"},
		{"AllowedMemoryNodes=", "cpuset-mems"},
		{"MemoryLow=", "memory-reservation"},
		{"MemorySwapMax=", "memory-swap memory-swappiness"},
		{"MemoryMax=", "memory kernel-memory"},
		{"TasksMax=", "pids-limit"},
		{"Slice=", "cgroup-parent"},
		{"IOWeight=", "blkio-weight"},
		{"IODeviceWeight=", "blkio-weight-device"},
		{"IOReadBandwidthMax=", "device-read-bps"},
		{"IOReadIOPSMax=", "device-read-iops"},
		{"IOWriteBandwidthMax=", "device-write-bps"},
		{"IOWriteIOPSMax=", "device-write-iops"},
		{"DeviceAllow=", "device-cgroup-rule"},
	} {
		for _, name := range strings.Fields(f.names) {
			flags = append(flags, flag{long: name, takes: true, why: systemdDoes(f.setting), short: map[string]byte{"memory": 'm', "cpu-shares": 'c'}[name]})
		}
	}
	return flags
}

// laterFlags are docker's that wait to be done, or never will be.
func laterFlags() (flags []flag) {
	for _, f := range []struct{ why, names string }{
		{"no health checks yet; have a timer's unit call nsrun exec, and systemd restart what is broken", "health-cmd health-interval health-retries health-timeout health-start-period health-start-interval"},
		{"name the devices instead: --device /dev/nvidia0 --device /dev/nvidiactl …, and bind the driver's libraries with --volume", "gpus"},
		{"all of a container is on one file system; bind a bigger one with --volume", "storage-opt"},
		{"volumes are directories of this machine; mount what the driver would have, by a .mount unit, and bind that", "volume-driver"},
		{"there are no terminals to detach from", "detach-keys"},
		{"write it into --hostname, as NAME.DOMAIN", "domainname"},
		{"that is for Windows; leave it out", "isolation"},
	} {
		for _, name := range strings.Fields(f.names) {
			flags = append(flags, flag{long: name, takes: true, why: f.why})
		}
	}
	return append(flags, flag{long: "sig-proxy", why: "signals are passed on always; leave it out"})
}

func (o *runOptions) ulimit(v string) error {
	u, err := runtime.ParseUlimit(v)
	if err != nil {
		return err
	}
	for i, known := range o.spec.Ulimits {
		if known.Name == u.Name { // the last one wins
			o.spec.Ulimits[i] = u
			return nil
		}
	}
	o.spec.Ulimits = append(o.spec.Ulimits, u)
	return nil
}

func (o *runOptions) oomScore(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("%s: a number from -1000 to 1000", v)
	}
	o.spec.OOMScore = &n
	return nil
}

func (o *runOptions) ipc(v string) error {
	switch {
	case v == "" || v == "private" || v == "shareable":
		o.spec.IPC = ""
	case v == runtime.IPCHost || v == runtime.IPCNone:
		o.spec.IPC = v
	case strings.HasPrefix(v, "container:"):
		return fmt.Errorf("%s: each container has ids of its own, so it could use nothing of another's memory; share a directory in memory with --volume, or the machine's memory with --ipc=host", v)
	default:
		return fmt.Errorf("%s: there are private (the default), none and host", v)
	}
	return nil
}

func (o *runOptions) uts(v string) error {
	if v != "host" && v != "private" && v != "" {
		return fmt.Errorf("%s: there are private (the default) and host", v)
	}
	o.spec.HostUTS = v == "host"
	return nil
}

func (o *runOptions) cgroupns(v string) error {
	if v != "host" && v != "private" && v != "" {
		return fmt.Errorf("%s: there are private (the default) and host", v)
	}
	o.spec.HostCgroupNS = v == "host"
	return nil
}

// pidMode refuses to put the container among other processes: whoever is there
// could look into the one that nsrun is about to make a container of, and what
// the container leaves behind would end with nobody.
func pidMode(v string) error {
	switch v {
	case "", "private":
		return nil
	case "host":
		return errors.New("host: a container sees its own processes only; to read about the machine's bind them: --userns=host --volume /proc:/host/proc:ro")
	}
	return fmt.Errorf("%s: a container sees its own processes only; run the command in the other container: nsrun exec %s", v, strings.TrimPrefix(v, "container:"))
}

// logDriver accepts what asks for what happens: what the program prints goes to
// the journal, as whoever starts it wants. (docker run prints it with none, too.)
func logDriver(v string) error {
	switch v {
	case "journald", "none", "passthrough", "k8s-file":
		return nil
	}
	return fmt.Errorf("%s: what a container prints goes to the journal of its unit, which bounds its size itself (SystemMaxUse= in journald.conf) and can pass it on; leave it out; see nsrun logs", v)
}

func logOption(v string) error {
	key, value, _ := strings.Cut(v, "=")
	switch key {
	case "tag":
		return fmt.Errorf("%s: systemd names what is in the journal: put SyslogIdentifier=%s into the unit", v, value)
	case "max-size", "max-file", "compress":
		return fmt.Errorf("%s: the journal bounds its size itself: SystemMaxUse= in journald.conf; leave it out", v)
	}
	return fmt.Errorf("%s: what a container prints goes to the journal of its unit; leave it out; see nsrun logs", v)
}

func restartPolicy(v string) error {
	name, _, _ := strings.Cut(v, ":")
	switch name {
	case "", "no":
		return nil
	case "on-failure":
		return fmt.Errorf("%s: systemd does that: put Restart=on-failure into the unit", v)
	case "always", "unless-stopped":
		return fmt.Errorf("%s: systemd does that: put Restart=always into the unit", v)
	}
	return fmt.Errorf("%s: systemd does that: put Restart= into the unit", v)
}

func (o *runOptions) otherRuntime(v string) error {
	if strings.Contains(v, "nvidia") {
		return fmt.Errorf("%s: name the devices instead: --device /dev/nvidia0 --device /dev/nvidiactl …, and bind the driver's libraries with --volume", v)
	}
	o.notes = append(o.notes, fmt.Sprintf("--runtime=%s: there is one runtime, this one", v))
	return nil
}

// labelFile reads labels, one a line.
func (o *runOptions) labelFile(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	entries, err := parseEnvFile(string(data))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	o.spec.Labels = append(o.spec.Labels, entries...)
	return nil
}

// shared fills in what needs other containers, and what flags mean together.
func (o *runOptions) shared(dir *runtime.Dir) error {
	s := &o.spec
	if s.HostUTS {
		if s.Hostname != "" {
			return usageError{errors.New("--hostname: with --uts=host the name is the machine's; leave one of the two out")}
		}
		s.Hostname, _ = os.Hostname()
	}
	if o.readOnlyTmpfs {
		if !s.ReadOnly {
			return usageError{errors.New("--read-only-tmpfs: goes with --read-only; without that everything can be written to")}
		}
		for _, target := range []string{"/run", "/tmp", "/var/tmp"} {
			s.Tmpfs = append(s.Tmpfs, runtime.Tmpfs{Target: target, Options: "mode=1777"})
		}
	}
	for _, from := range o.volumesFrom {
		if err := o.takeVolumes(dir, from); err != nil {
			return fmt.Errorf("--volumes-from=%s: %w", from, err)
		}
	}
	return nil
}

// takeVolumes takes over another container's volumes, but for places that have
// one already.
func (o *runOptions) takeVolumes(dir *runtime.Dir, from string) error {
	name, mode, _ := strings.Cut(from, ":")
	readOnly := false
	for _, option := range strings.Split(mode, ",") {
		switch option {
		case "ro":
			readOnly = true
		case "", "rw", "z", "Z":
		default:
			return usageError{fmt.Errorf("option %s: there are ro and rw", option)}
		}
	}
	c, err := dir.Get(name)
	if err != nil {
		return err
	}
	for _, v := range c.Volumes {
		if o.covers(v.Target) {
			continue
		}
		v.ReadOnly = v.ReadOnly || readOnly
		v.Exists = true
		o.spec.Volumes = append(o.spec.Volumes, v)
	}
	return nil
}

// covers says whether something is to be mounted at a place already.
func (o *runOptions) covers(target string) bool {
	for _, v := range o.spec.Volumes {
		if v.Target == target {
			return true
		}
	}
	for _, t := range o.spec.Tmpfs {
		if t.Target == target {
			return true
		}
	}
	return false
}

// writeID writes the container's id to a file that isn't there yet, as docker
// does. undo takes it away again.
func (o *runOptions) writeID() (undo func(), err error) {
	if o.cidFile == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(o.cidFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("--cidfile=%s: is there already; remove it, or choose another", o.cidFile)
	}
	if err != nil {
		return nil, fmt.Errorf("--cidfile=%s: %w", o.cidFile, err)
	}
	_, err = f.WriteString(o.spec.ID)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(o.cidFile)
		return nil, fmt.Errorf("--cidfile=%s: %w", o.cidFile, err)
	}
	return func() { // if it is still ours
		if data, err := os.ReadFile(o.cidFile); err == nil && bytes.Equal(data, []byte(o.spec.ID)) {
			os.Remove(o.cidFile)
		}
	}, nil
}
