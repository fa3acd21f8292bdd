package runtime

import (
	"strconv"
	"strings"
	"time"
)

// Exit codes of nsrun itself, as docker's.
const (
	ExitFailed        = 125 // nsrun could not start the container
	ExitNotExecutable = 126
	ExitNotFound      = 127
	ExitSignal        = 128 // plus the signal's number

	ExitNoNetwork = 69 // nsrun-network's, where the machine can't have a bridge
)

// Spec says what to run and how. Make checks it.
type Spec struct {
	Name string // also the names of its directories; see ValidName
	ID   string // 64 hex digits; the first 12 are the default host name

	Image       string   // as the user wrote it; empty with RootFS
	Digest      string   // of the image, for the record
	Layers      []string // unpacked layers, bottom first; the writable layer comes on top
	RootFS      string   // or: a plain directory to run in, absolute, with no link on the way to it
	RootOverlay bool     // put a writable layer over RootFS instead of writing into it

	Argv     []string // program and arguments; a program without a slash is looked up in Env's PATH
	Env      []string // NAME=value
	WorkDir  string   // made when missing; empty means /
	User     string   // user[:group], names or numbers; empty means root
	Groups   []string // names or numbers, beside those of User
	Hostname string
	Labels   []string // NAME=value, kept with the container

	ReadOnly bool     // the root, not its volumes
	Network  string   // NetworkNone when empty
	Bridge   Bridge   // with NetworkBridge
	Expose   []string // ports it says that it has, for the record
	HostIDs  bool     // no user name-space: root inside is root outside
	CapAdd   []string // names with or without CAP_; ALL
	CapDrop  []string
	Volumes  []Volume
	Tmpfs    []Tmpfs
	Devices  []Device
	ShmBytes uint64   // room in /dev/shm; zero means 64 MiB
	Sysctls  []Sysctl // of the container's own name-spaces
	Names    Names
	Zone     string // contents of /etc/localtime; empty leaves the image's

	Security
	Masked   []string // hidden beside what always is: absolute, below /proc or /sys
	Unmasked []string // of what is hidden or read-only, left as it is: patterns of path.Match; ALL

	Init         bool // a small process of ours is the first one: it reaps, and passes signals on
	Ulimits      []Ulimit
	OOMScore     *int   // oom_score_adj, -1000 to 1000; nil leaves what systemd set
	IPC          string // "" is private; IPCHost, IPCNone
	HostUTS      bool   // the machine's host name, which can't be changed from inside
	HostCgroupNS bool   // see the machine's whole tree of cgroups

	StopSignal  string        // TERM when empty
	StopTimeout time.Duration // zero means 10 s
	Remove      bool          // nothing is kept after it has ended
	Stdin       bool          // pass standard input on; otherwise it is empty
	TTY         bool          // a terminal of the container's; not where systemd takes the container over

	Notify     string // systemd's socket, by which the program itself says READY=1; empty: it is once it runs
	ListenFDs  int    // descriptors 3, 4, … handed on as systemd's LISTEN_FDS
	Unit       string // the systemd unit it runs in, and that unit's invocation
	Invocation string

	shared *shared // with Network container:NAME; ShareNetwork finds out
}

// NotifySocket is where the program finds Spec.Notify.
const NotifySocket = "/dev/notify"

// Volume binds a directory or file of the machine into the container.
type Volume struct {
	Source   string // absolute
	Target   string // absolute
	ReadOnly bool
	NoExec   bool
	Slave    bool // what the machine mounts below it later appears in the container, too
	Exists   bool // Source must be there; otherwise a directory is made

	Name    string // of a volume that nsrun keeps
	Made    bool   // that name is made up: the volume is made for this container
	OfImage bool   // the image asked for it, and it goes with the container
	Fill    bool   // copy what the image has at Target, while it is empty

	file bool // Source is no directory; PrepareVolumes finds out
}

// flag is how v is asked for.
func (v Volume) flag() string {
	switch {
	case v.OfImage:
		return "the image's volume " + v.Target
	case v.Made:
		return "--volume=" + v.Target
	case v.Name != "":
		return "--volume=" + v.Name + ":" + v.Target
	}
	return "--volume=" + v.Source + ":" + v.Target
}

// Device is a device node of the machine, or a directory below /dev with some.
type Device struct {
	Source   string // absolute
	Target   string // absolute
	Optional bool   // leave it out where the machine hasn't got it

	dir bool // PrepareDevices finds out
}

// Sysctl is a setting of the kernel's.
type Sysctl struct {
	Name  string // with dots
	Value string
}

// Names is what a container knows of names and addresses beside what the
// machine does.
type Names struct {
	Hosts   []string // lines of /etc/hosts: address, tab, names
	Servers []string // name servers; none means the machine's, and so on
	Search  []string // "." means none
	Options []string
}

// Tmpfs is an empty file system in memory.
type Tmpfs struct {
	Target  string // absolute
	Options string // as mount(8) takes them: size=, mode=, exec, suid, dev, ro
}

// flag is how t is asked for.
func (t Tmpfs) flag() string {
	if t.Options == "" {
		return "--tmpfs=" + t.Target
	}
	return "--tmpfs=" + t.Target + ":" + t.Options
}

// ValidName reports whether s can name a container: letters, digits, _ . and -,
// beginning with a letter or digit, two to 200 bytes, as docker has it.
func ValidName(s string) bool {
	if len(s) < 2 || len(s) > 200 {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("_.-", rune(c))) {
			return false
		}
	}
	return true
}

// env returns the value of name in a NAME=value list, the last one winning.
func env(list []string, name string) string {
	value := ""
	for _, entry := range list {
		if k, v, ok := strings.Cut(entry, "="); ok && k == name {
			value = v
		}
	}
	return value
}

// SetEnv returns list with name set to value, in the place it had.
func SetEnv(list []string, name, value string) []string {
	for i, entry := range list {
		if k, _, _ := strings.Cut(entry, "="); k == name {
			list[i] = name + "=" + value
			return list
		}
	}
	return append(list, name+"="+value)
}

// numeric reads a user or group id written as a number.
func numeric(s string) (int32, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int32(n), err == nil && n >= 0
}
