package container

import (
	"math"
	"strconv"
	"strings"
)

// option is a flag of docker run or podman run.
type option struct {
	switches bool // it takes no value
	do       func(flag, value string)
}

// flagSet is flags by their names, long and short.
type flagSet map[string]option

// add enters a flag under each of its names.
func (s flagSet) add(names string, f option) {
	for _, n := range strings.Fields(names) {
		s[n] = f
	}
}

// flags are those that are known.
func (c *converter) flags() flagSet {
	all := flagSet{}
	c.containerFlags(all)
	c.serviceFlags(all.add)
	c.otherFlags(all)
	return all
}

// containerFlags are those that a key of [Container] is for.
func (c *converter) containerFlags(all flagSet) {
	for names, key := range map[string]string{
		"hostname h": "HostName", "user u": "User", "workdir w": "WorkingDir", "entrypoint": "Entrypoint", "env-file": "EnvironmentFile",
		"volume v": "Volume", "tmpfs": "Tmpfs", "network net": "Network", "publish p": "PublishPort", "stop-signal": "StopSignal",
		"stop-timeout": "StopTimeout", "pull": "Pull", "userns": "UserNS", "group-add": "GroupAdd", "add-host": "AddHost",
		"dns": "DNS", "dns-search": "DNSSearch", "dns-option dns-opt": "DNSOption", "ip": "IP", "ip6": "IP6", "network-alias net-alias": "NetworkAlias",
		"expose": "ExposeHostPort", "shm-size": "ShmSize", "secret": "Secret", "tz": "Timezone",
	} {
		all.add(names, option{do: func(flag, v string) { c.key(flag, key, v) }})
	}
	for name, key := range map[string]string{
		"cap-add": "AddCapability", "cap-drop": "DropCapability", "sysctl": "Sysctl", "mount": "Mount", "device": "AddDevice",
		"label l": "Label", "annotation": "Annotation",
	} {
		all.add(name, option{do: func(_, v string) { c.word(key, v) }})
	}
	for name, key := range map[string]string{"read-only": "ReadOnly", "init": "RunInit", "env-host": "EnvironmentHost"} {
		all.add(name, option{switches: true, do: func(string, string) { c.set(Section, key, "yes") }})
	}
	all.add("env e", option{do: func(flag, v string) {
		if !strings.Contains(v, "=") {
			c.notes = append(c.notes, flag+" "+v+" has no value: it gets what "+v+" is for the unit on its machine, if anything; write "+v+"=value")
		}
		c.word("Environment", v)
	}})
	all.add("name", option{do: func(_, v string) { c.name = v }})
	all.add("rootfs", option{switches: true, do: func(string, string) { c.rootfs = true }})
	if c.tool == "nsrun" {
		all.add("rootfs", option{do: func(flag, v string) { c.refuse(flag, "nsrun's takes a directory", "write the unit by hand: Rootfs="+v) }})
	}
	all.add("security-opt", option{do: c.securityOption})
	all.add("sdnotify", option{do: func(flag, v string) {
		if v != "conmon" {
			c.key(flag, "Notify", map[string]string{"container": "yes"}[v])
		}
	}})
}

// otherFlags are those that are left out, silently where nothing is lost, and
// those that can't be.
func (c *converter) otherFlags(all flagSet) {
	silent := func(names string, switches bool) {
		all.add(names, option{switches, func(string, string) {}})
	}
	dropped := func(names string, switches bool, why string) {
		all.add(names, option{switches, func(flag, _ string) { c.note(flag, why) }})
	}
	refused := func(names string, switches bool, why, fix string) {
		all.add(names, option{switches, func(flag, _ string) { c.refuse(flag, why, fix) }})
	}
	silent("rm quiet q replace sig-proxy help tls-verify read-only-tmpfs", true)
	silent("cgroups authfile", false)
	dropped("detach d", true, "a unit is in the background anyway")
	dropped("interactive i tty t", true, "a unit has no terminal")
	dropped("attach a detach-keys", false, "its output goes to the journal")
	dropped("cidfile conmon-pidfile pidfile", false, "systemd knows the container's process: systemctl show -p MainPID")
	dropped("label-file", false, "it is not here; write --label NAME=VALUE for what it holds")
	dropped("health-cmd health-interval health-retries health-timeout health-start-period health-start-interval health-on-failure", false, "there are no health checks; a program that tells systemd that it is well is watched with Notify=yes, and WatchdogSec= in [Service]")
	dropped("no-healthcheck", true, "there are no health checks")
	dropped("disable-content-trust", true, "images are always checked by digest")
	dropped("platform arch os variant", false, "the machine's own is taken")
	dropped("oom-kill-disable", true, "see OOMPolicy= in systemd.service(5)")
	dropped("runtime isolation", false, "there is nothing like it here")
	dropped("publish-all P", true, "which ports those are the image says, and a unit needs to know; write --publish for each")

	refused("privileged", true, "there are no privileged containers", "name what it needs: --cap-add, --volume, --userns=host")
	refused("link", false, "units can't say which container is up first", "use --add-host, or --network=host and the machine's address")
	dropped("mac-address", false, "write --network=bridge:mac=… if it counts")
	refused("volumes-from", false, "volumes belong to no container", "name them: --volume NAME:/DIR")
	refused("gpus", false, "there is nothing like it here yet", "name the devices: --device /dev/…")
	refused("ipc pid uts cgroupns", false, "every container has its own", "take it out, or start the program without a container: ExecStart=")
	refused("pod pod-id-file", false, "there are no pods", "to keep units together use MachineOf= in [X-Cluster]")
	refused("device-cgroup-rule device-read-bps device-write-bps device-read-iops device-write-iops blkio-weight blkio-weight-device storage-opt volume-driver uidmap gidmap subuidname subgidname", false, "there is nothing like it here", "take it out; limits are the unit's: see systemd.resource-control(5)")
}

// serviceFlags are those that systemd takes care of.
func (c *converter) serviceFlags(add func(string, option)) {
	service := func(names, key string, value func(string) (string, bool)) {
		add(names, option{do: func(flag, v string) {
			if text, ok := value(v); ok {
				c.set("Service", key, text)
			} else {
				c.refuse(flag, clip(v)+" is no value for it", "see "+key+"= in systemd.exec(5) and systemd.resource-control(5)")
			}
		}})
	}
	service("memory m", "MemoryMax", func(v string) (string, bool) {
		c.memory, _ = bytesOf(v)
		return memorySize(v)
	})
	service("memory-reservation", "MemoryLow", memorySize)
	add("memory-swap", option{do: func(_, v string) { c.swap = v }})
	add("memory-swappiness kernel-memory", option{do: func(flag, _ string) { c.note(flag, "there is no such limit") }})
	service("cpus", "CPUQuota", func(v string) (string, bool) {
		n, err := strconv.ParseFloat(v, 64)
		percent := math.Ceil(n * 100)
		return strconv.FormatFloat(percent, 'f', -1, 64) + "%", err == nil && percent >= 1 && percent < 1e6
	})
	service("cpu-shares c", "CPUWeight", func(v string) (string, bool) {
		n, err := strconv.Atoi(v)
		return strconv.Itoa(min(max(n*100/1024, 1), 10000)), err == nil && n >= 0
	})
	number := func(at *int) func(string, string) {
		return func(flag, v string) {
			var err error
			if *at, err = strconv.Atoi(v); err != nil || *at < 0 {
				c.refuse(flag, clip(v)+" is no number of µs", "write one, or --cpus")
			}
		}
	}
	add("cpu-quota", option{do: number(&c.quota)})
	add("cpu-period", option{do: number(&c.period)})
	same := func(v string) (string, bool) { return v, v != "" && !strings.ContainsFunc(v, special) }
	service("cpuset-cpus", "AllowedCPUs", same)
	service("cpuset-mems", "AllowedMemoryNodes", same)
	service("oom-score-adj", "OOMScoreAdjust", same)
	add("pids-limit", option{do: func(flag, v string) {
		switch n, err := strconv.Atoi(v); {
		case err != nil || n < -1:
			c.refuse(flag, clip(v)+" is no number", "write how many processes and threads it may have, or -1")
		case n <= 0:
			c.set("Service", "TasksMax", "infinity")
		case n < tasksMin:
			c.refuse(flag, v+" is too few to start anything", "write "+strconv.Itoa(tasksMin)+" at least: nsrun has five threads itself until the program runs")
		default:
			c.set("Service", "TasksMax", v)
		}
	}})
	service("cgroup-parent", "Slice", func(v string) (string, bool) { return v, strings.HasSuffix(v, ".slice") })
	add("ulimit", option{do: func(flag, v string) {
		if key, value, ok := limit(v); ok {
			c.set("Service", key, value)
		} else {
			c.refuse(flag, clip(v)+" is no limit", "write such as nofile=1024:4096")
		}
	}})
	add("restart", option{do: c.restart})
	c.logFlags(add)
}

func (c *converter) logFlags(add func(string, option)) {
	add("log-driver", option{do: func(flag, v string) {
		switch v {
		case "none":
			c.set("Service", "StandardOutput", "null")
		case "journald":
		default:
			c.note(flag, "the journal takes what it prints")
		}
	}})
	add("log-opt", option{do: func(flag, v string) {
		if tag, ok := strings.CutPrefix(v, "tag="); ok && tag != "" && !strings.Contains(tag, "{{") {
			c.set("Service", "SyslogIdentifier", tag)
			return
		}
		c.note(flag+" "+v, "the journal takes what it prints")
	}})
}

func (c *converter) restart(flag, v string) {
	policy, tries, _ := strings.Cut(v, ":")
	switch policy {
	case "no", "":
		return
	case "always", "unless-stopped":
		policy = "always"
	case "on-failure":
	default:
		c.refuse(flag, clip(v)+" is no policy", "use no, on-failure, always or unless-stopped")
		return
	}
	c.set("Service", "Restart", policy)
	c.set("Service", "RestartSec", "5") // so long a pause that systemd doesn't give up
	if tries != "" {
		c.note("the "+tries+" of "+flag, "systemd goes on trying; see StartLimitBurst= in systemd.unit(5)")
	}
}

func (c *converter) securityOption(flag, v string) {
	name, value, _ := strings.Cut(strings.Replace(v, ":", "=", 1), "=")
	switch name {
	case "no-new-privileges":
		if value == "false" {
			c.set(Section, "NoNewPrivileges", "no")
		}
	case "systempaths":
		c.key(flag, "Unmask", map[string]string{"unconfined": "ALL"}[value])
	case "seccomp":
		c.key(flag, "SeccompProfile", value)
	case "apparmor":
		c.key(flag, "AppArmor", value)
	case "label":
		c.note(flag+" "+v, "SELinux labels are not used")
	case "mask":
		c.key(flag, "Mask", value)
	case "unmask":
		c.key(flag, "Unmask", value)
	default:
		c.refuse(flag, clip(v)+" is not known", "take it out")
	}
}

// limits sets what several flags say together.
func (c *converter) limits() {
	if c.quota > 0 {
		if c.period == 0 {
			c.period = 100000 // docker's
		}
		c.set("Service", "CPUQuota", strconv.Itoa(max(c.quota*100/c.period, 1))+"%")
	}
	if c.swap == "" {
		return
	}
	swap, ok := bytesOf(c.swap)
	switch {
	case c.swap == "-1":
		c.set("Service", "MemorySwapMax", "infinity")
	case !ok || c.memory == 0 || swap < c.memory:
		c.refuse("--memory-swap", clip(c.swap)+" is no size from --memory up", "give both, as in --memory=1g --memory-swap=2g")
	default:
		c.set("Service", "MemorySwapMax", strconv.FormatUint(swap-c.memory, 10))
	}
}

// bytesOf reads docker's way to write a size.
func bytesOf(s string) (uint64, bool) {
	text, ok := memorySize(s)
	if !ok {
		return 0, false
	}
	digits := strings.TrimRight(text, "KMGT")
	n, err := strconv.ParseUint(digits, 10, 64)
	shift := 10 * (1 + strings.Index("KMGT", text[len(digits):]))
	if digits == text {
		shift = 0
	}
	return n << shift, err == nil && n<<shift>>shift == n
}
