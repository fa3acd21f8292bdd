package runtime

import (
	"fmt"
	"strings"
)

// The parent's steps. launch.do carries them out.
type (
	cloneChild struct {
		Namespaces []string
		Sibling    bool   // the child's parent is our parent, systemd
		Join       string // a network that is there already
	}
	connect      struct{}
	awaitNetwork struct{ Bridge Bridge }
	mapIDs       struct{ Range bool } // and tell the child: see awaitIDs
	makeOverlay  struct {
		Layers   []string // bottom first
		Resolved bool     // no link may be on the way to them
		Mapped   bool
		ByPath   bool
		Inside   bool // the child's step: without root only it may mount something
		Suid     bool // setuid programs in it count
		Volatile bool // nothing written will be needed: spare the disk, at the end, too
	}
	makeTree struct {
		Name     string
		Source   string
		Mapped   bool
		ReadOnly bool
		NoExec   bool
		Suid     bool   // setuid programs in it count
		Resolved bool   // no link may be on the way to Source
		Slave    bool   // what is mounted below Source later is here, too
		Fill     string // while Source is empty, copy what the root has there
	}
	lookUpUser struct {
		User   string
		Groups []string // further ones
	}
	writeState struct{}
	announce   struct{}
	openGate   struct{}
	leave      struct{}
	stay       struct{}
)

func (s cloneChild) String() string {
	whose := "ours"
	if s.Sibling {
		whose = "systemd's from birth"
	}
	text := fmt.Sprintf("clone a process, %s, in new name-spaces: %s", whose, strings.Join(s.Namespaces, " "))
	if s.Join != "" {
		text += fmt.Sprintf("; and in the network %s, with a sysfs made there", s.Join)
	}
	return text
}

func (connect) String() string {
	return "have nsrun-network connect it to the bridge, while the next steps are done"
}

func (s awaitNetwork) String() string {
	text := "wait until it is connected, and has an address"
	for _, p := range s.Bridge.Publish {
		text += ", port " + p
	}
	return text
}

func (s mapIDs) String() string {
	if s.Range {
		return fmt.Sprintf("map ids 0 to %d to a range that is this container's alone", idsPerContainer-1)
	}
	return "map id 0 to the caller's own"
}

func (s makeOverlay) String() string {
	how := "by descriptor"
	switch {
	case s.Inside:
		how = "by links in memory"
	case s.ByPath:
		how = "by path, in a thread with mounts of its own"
	}
	if s.Volatile {
		how += "; never synced to disk"
	}
	if s.Suid {
		how += "; setuid programs count"
	}
	return fmt.Sprintf("make the root: overlay of %d layers and a writable one%s, %s", len(s.Layers), mapped(s.Mapped), how)
}

func (s makeTree) String() string {
	mode := ""
	if s.ReadOnly {
		mode = ", read-only"
	}
	if s.NoExec {
		mode += ", noexec"
	}
	if s.Suid {
		mode += ", setuid programs count"
	}
	if s.Slave {
		mode += ", with what is mounted there later"
	}
	if s.Fill != "" {
		mode += ", while empty filled with the image's " + s.Fill
	}
	return fmt.Sprintf("make %s: %s%s%s", s.Name, s.Source, mode, mapped(s.Mapped))
}

func mapped(yes bool) string {
	if yes {
		return ", ids mapped"
	}
	return ""
}

func (s lookUpUser) String() string {
	who := "user " + orRoot(s.User)
	if len(s.Groups) > 0 {
		who += ", with groups " + strings.Join(s.Groups, " ") + " too,"
	}
	return fmt.Sprintf("look up %s in the root's /etc/passwd and /etc/group", who)
}
func (writeState) String() string { return "record the process: its id and its start time" }
func (announce) String() string {
	return "tell systemd MAINPID= and wait until it has read that (BARRIER=1)"
}
func (openGate) String() string { return "open the gate: send the mounts and the user's ids" }
func (leave) String() string {
	return "exit 0; the container is systemd's child, nothing of ours stays"
}
func (stay) String() string { return "pass signals on; give back the command's exit code" }

// The child's steps. Each compiles itself to system calls.
type (
	dieWithParent struct{ Again bool }
	awaitIDs      struct{}
	gate          struct {
		Names []string
		Again bool // after awaitIDs
		Asked asked
	}
	becomeRoot    struct{ Groups bool }
	ownSession    struct{}
	setHostname   struct{ Name, Hint string }
	loopbackUp    struct{}
	privateMounts struct{}
	makeFS        struct {
		Name, Type, Options, Attr string
		Flag                      string // who asked for it, for messages
	}
	cloneTree struct {
		Name, Path string
		Optional   bool // go on where the machine hasn't got it
		ReadOnly   bool
		NoExec     bool
		Suid       bool // setuid programs in it count
	}
	pivot   struct{}
	makeEtc struct {
		Files   []string
		Own     string // on the bridge: names for the container's address there ...
		Gateway string // ... and for the machine's
	}
	attach struct {
		Name     string // of the mount, as made
		Base     string // the mount Target is relative to; empty is the root
		Target   string
		File     bool   // the mount point is a file
		Strict   bool   // refuse symbolic links: an image must not choose where these go
		Exists   bool   // don't make the mount point
		OnLink   bool   // a symbolic link there is the mount point itself
		Optional bool   // leave it out when there is no such mount point
		Flag     string // who asked for it, for messages
	}
	devLinks struct{}
	sysctl   struct {
		Name, Value string
		Optional    bool // go on where the kernel hasn't got it
	}
	mask struct {
		Path string
		Dir  bool
	}
	readOnlyPath  struct{ Path string }
	workDir       struct{ Path string }
	readOnlyRoot  struct{}
	restoreLimits struct{}
	emptyStdin    struct{}
	dropBounding  struct{ Keep capSet }
	mapUser       struct{ User string }
	becomeUser    struct {
		User   string
		Groups bool
	}
	keepCaps        struct{ Keep capSet }
	noNewPrivileges struct{}
	filterCalls     struct {
		Caps    capSet
		Profile string // see Security.Seccomp
		First   bool   // at once; else when the program is found
	}
	enterAppArmor struct{ Profile string }
	closeFiles    struct {
		From     int
		OneByOne bool
	}
	program struct {
		Argv  []string
		Path  string
		Ready bool
		Files []Ulimit // of open files, if it is to be set
		Init  string   // what init is called, which is to run the program; empty: none
		Asked asked
	}
)

func (s dieWithParent) String() string {
	if s.Again {
		return "ask again for death with nsrun: changing the user forgot it; check that nsrun lives"
	}
	return "ask for death when nsrun dies"
}
func (awaitIDs) String() string      { return "wait until its ids are mapped; end of file there means exit" }
func (gate) String() string          { return "wait at the gate; end of file there means exit" }
func (becomeRoot) String() string    { return "become root of the user name-space" }
func (ownSession) String() string    { return "start a session and a keyring of its own" }
func (s setHostname) String() string { return "set host name " + s.Name }
func (loopbackUp) String() string    { return "bring loopback up" }
func (privateMounts) String() string { return "cut mounts off from the machine's" }

func (s makeFS) String() string {
	opts := s.Attr
	if s.Options != "" {
		opts += ";" + s.Options
	}
	if s.Name == s.Type {
		return fmt.Sprintf("make %s (%s)", s.Type, opts)
	}
	return fmt.Sprintf("make %s: %s (%s)", s.Name, s.Type, opts)
}

func (s cloneTree) String() string {
	mode := ""
	if s.ReadOnly {
		mode = ", read-only"
	}
	if s.Suid {
		mode += ", setuid programs count"
	}
	return fmt.Sprintf("take %s%s", s.Path, mode)
}
func (pivot) String() string {
	return "make the root the root (pivot_root) and let go of the machine's mounts"
}

func (s attach) String() string {
	target := s.Target
	switch s.Base {
	case "dev":
		target = "/dev/" + target
	case "sysfs":
		target = "/sys/" + target
	}
	if s.Optional {
		target += ", if that is there"
	}
	return fmt.Sprintf("mount %s on %s", s.Name, target)
}
func (s makeEtc) String() string {
	text := "write " + strings.Join(s.Files, ", ") + " for /etc, in memory"
	if s.Own != "" {
		text += "; in hosts its address for " + s.Own + ", the machine's for " + s.Gateway
	}
	return text
}
func (devLinks) String() string { return "link /dev/fd, stdin, stdout, stderr, ptmx, core" }
func (s sysctl) String() string {
	return fmt.Sprintf("set %s to %s", s.Name, s.Value)
}
func (s mask) String() string         { return "hide " + s.Path }
func (s readOnlyPath) String() string { return "make " + s.Path + " read-only" }
func (s workDir) String() string      { return "go to " + s.Path }
func (readOnlyRoot) String() string   { return "make the root read-only" }
func (restoreLimits) String() string {
	return "limit of open files as it was when nsrun started"
}
func (emptyStdin) String() string     { return "standard input from /dev/null" }
func (s dropBounding) String() string { return fmt.Sprintf("bounding set: %s", s.Keep) }
func (s mapUser) String() string {
	return fmt.Sprintf("make a user name-space in the user name-space: the caller's own id is user %s there", s.User)
}
func (s becomeUser) String() string { return "become user " + orRoot(s.User) }
func (s keepCaps) String() string {
	return "permitted and effective: the same for root, none for others; inheritable and ambient: none"
}
func (noNewPrivileges) String() string { return "no new privileges" }
func (s enterAppArmor) String() string {
	return "have the program run under AppArmor profile " + s.Profile
}
func (s closeFiles) String() string {
	if s.OneByOne {
		return fmt.Sprintf("close descriptors from %d up, those that nsrun was given, one by one", s.From)
	}
	return fmt.Sprintf("close descriptors from %d up", s.From)
}

func (s program) String() string {
	text := "find " + s.Argv[0]
	if !strings.Contains(s.Argv[0], "/") {
		text += " in " + s.Path
	}
	text += ": not there is exit 127, not executable 126"
	if s.Asked != 0 {
		text += "; asked to stop by now: exit 0"
	}
	if s.Ready {
		text += "; tell systemd READY=1"
	}
	if len(s.Files) > 0 {
		text += "; set limits: " + setLimits{s.Files}.names()
	}
	if s.Init != "" {
		return text + "; execve init, to run it"
	}
	return text + "; execve"
}

func orRoot(user string) string {
	if user == "" {
		return "root"
	}
	return user
}
