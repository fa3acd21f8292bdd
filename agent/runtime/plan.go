package runtime

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Host is what a plan has to know about the machine. [LookAtHost] finds it out.
type Host struct {
	Root      bool     // we may map id ranges and make mounts
	UID, GID  int      // who we are otherwise
	HandOver  bool     // systemd waits to take the container's first process over
	Cgroup2   bool     // /sys/fs/cgroup is a pure cgroup2 tree
	ProcFiles []string // of maskedPaths and what is to be masked beside, those that exist as files ...
	ProcDirs  []string // ... and as directories
	ReadOnly  []string // of readOnlyPaths, those that exist
	Caps      capSet   // what we may hand on without a user name-space

	LayersByPath  bool   // see that function
	CloseOneByOne bool   // there is no call that does it at once
	UsersRefused  string // which setting may keep an ordinary user from what is done in a user name-space
}

// Step is one thing to do, in the parent or in the child.
type Step interface {
	// String is the line --explain shows.
	String() string
}

// Plan is how a container comes to life.
type Plan struct {
	Spec       Spec
	Namespaces []string // as in /proc/PID/ns
	UserNS     bool
	NetNS      bool
	HandOver   bool
	Caps       capSet
	Parent     []Step // up to the gate
	Child      []Step // up to the gate, and behind it
	After      []Step // the parent's, once the gate is open
}

// idsPerContainer is the size of a container's id range.
const idsPerContainer = 65536

// Make decides how to carry out spec on a host. It does no I/O. The error says
// which part of spec can't be, and what can.
func Make(spec Spec, host Host) (*Plan, error) {
	if err := check(&spec, host); err != nil {
		return nil, err
	}
	caps, err := capabilities(spec.CapAdd, spec.CapDrop)
	if err != nil {
		return nil, err
	}
	if spec.HostIDs {
		if wanted, _ := capabilities(spec.CapAdd, []string{"ALL"}); wanted&caps&^host.Caps != 0 {
			return nil, fmt.Errorf("--cap-add: this machine hasn't %s itself; leave that out", wanted&caps&^host.Caps)
		}
		caps &= host.Caps
	}
	p := &Plan{
		Spec: spec, HandOver: host.HandOver, Caps: caps,
		UserNS: !spec.HostIDs, NetNS: spec.Network != NetworkHost && !joins(spec.Network),
		Namespaces: spec.namespaces(),
	}
	if p.NetNS {
		p.Namespaces = append(p.Namespaces, "net")
	}
	if p.UserNS {
		p.Namespaces = append(p.Namespaces, "user")
	}
	p.parentSteps(host)
	p.childSteps(host)
	return p, nil
}

func (p *Plan) parentSteps(host Host) {
	s := p.Spec
	add := func(step Step) { p.Parent = append(p.Parent, step) }
	if !host.Root { // the child may need a name-space made for that user
		add(lookUpUser{s.User, s.Groups})
	}
	clone := cloneChild{Namespaces: p.Namespaces, Sibling: p.HandOver}
	if joins(s.Network) {
		clone.Join = s.Network
	}
	add(clone)
	if s.Network == NetworkBridge {
		add(connect{})
	}
	if p.UserNS {
		add(mapIDs{Range: host.Root})
	}
	if len(s.Ulimits) > 0 {
		add(raiseLimits{s.Ulimits})
	}
	if s.OOMScore != nil {
		add(scoreOOM{*s.OOMScore})
	}
	if host.Root {
		switch {
		case len(s.Layers) > 0:
			add(makeOverlay{Layers: s.Layers, Mapped: p.UserNS, ByPath: host.LayersByPath, Suid: s.NewPrivileges, Volatile: s.Remove})
		case s.RootOverlay:
			add(makeOverlay{Layers: []string{s.RootFS}, Resolved: true, Mapped: p.UserNS, ByPath: host.LayersByPath, Suid: s.NewPrivileges, Volatile: s.Remove})
		default:
			add(makeTree{Name: "root", Source: s.RootFS, Mapped: p.UserNS, Suid: s.NewPrivileges, Resolved: true})
		}
		for i, v := range s.Volumes {
			add(volumeTree(i, v, p.UserNS))
		}
		if s.Notify != "" { // whose ids are nobody's in there; everybody may write to it, read-only or not
			add(makeTree{Name: "notify", Source: s.Notify, ReadOnly: true, Resolved: true})
		}
		add(lookUpUser{s.User, s.Groups})
	}
	if s.Network == NetworkBridge {
		add(awaitNetwork{s.Bridge})
	}
	add(writeState{})
	if p.HandOver {
		add(announce{})
	}
	add(openGate{})
	if s.TTY {
		add(takeTerminal{})
	}
	if p.HandOver {
		p.After = append(p.After, leave{})
		return
	}
	p.After = append(p.After, stay{})
}

// overlay returns the step that makes the root as an overlay, if there is one.
func (p *Plan) overlay() (step makeOverlay, ok bool) {
	for _, steps := range [][]Step{p.Parent, p.Child} {
		for _, step := range steps {
			if o, ok := step.(makeOverlay); ok {
				return o, true
			}
		}
	}
	return makeOverlay{}, false
}

// ranged reports whether the container gets a range of ids of its own.
func (p *Plan) ranged() bool {
	return slices.ContainsFunc(p.Parent, func(step Step) bool {
		ids, ok := step.(mapIDs)
		return ok && ids.Range
	})
}

func volumeName(i int) string { return fmt.Sprintf("volume %d", i+1) }

// etcFiles are written anew for each container and bound over the image's.
var etcFiles = []string{"hosts", "hostname", "resolv.conf"}

// etcFiles are those of this container.
func (p *Plan) etcFiles() []string {
	if p.Spec.Zone == "" {
		return etcFiles
	}
	return append(slices.Clone(etcFiles), localtime)
}

// makeEtc writes them. On the bridge two lines of hosts are known only when the
// container is connected.
func (p *Plan) makeEtc() makeEtc {
	step := makeEtc{Files: p.etcFiles()}
	if p.Spec.Network == NetworkBridge {
		step.Own = strings.Join(append([]string{p.Spec.Hostname}, p.Spec.Bridge.Aliases...), " ")
		step.Gateway = strings.Join(append(slices.Clone(gatewayNames), p.Spec.Bridge.Gateway...), " ")
	}
	return step
}

// localtime is the file that says which time zone it is.
const localtime = "localtime"

// received returns the names of the mounts the parent sends through the gate.
func (p *Plan) received() []string {
	var names []string
	for _, step := range p.Parent {
		switch s := step.(type) {
		case cloneChild:
			if s.Join != "" {
				names = append(names, "sysfs")
			}
		case makeOverlay:
			names = append(names, "root")
		case makeTree:
			names = append(names, s.Name)
		}
	}
	return names
}

func (p *Plan) childSteps(host Host) {
	s := p.Spec
	add := func(steps ...Step) { p.Child = append(p.Child, steps...) }
	if !p.HandOver {
		add(dieWithParent{})
	}
	// What the parent makes for it takes a while, so it makes what it can meanwhile.
	// Without root there is nothing to wait for.
	waits := host.Root && p.UserNS
	switch {
	case waits:
		add(awaitIDs{})
	case !host.Root:
		add(gate{Names: p.received(), Asked: p.asked()})
	}
	if p.UserNS {
		add(becomeRoot{Groups: host.Root})
	}
	add(ownSession{})
	if !s.HostUTS {
		add(setHostname{s.Hostname, host.UsersRefused})
	}
	if p.NetNS {
		add(loopbackUp{})
	}
	add(privateMounts{})
	if !host.Root {
		p.ownTrees(add)
	}
	p.makeSystem(host, add)
	if host.Root {
		add(gate{Names: p.received(), Again: waits, Asked: p.asked()})
	}
	add(pivot{}, p.makeEtc())
	// What the image's links may lead about goes first, while there is nothing to
	// be led to: a volume can't come to cover a part of /proc or /sys.
	inDev := p.attachUser(host, add)
	p.attachSystem(host, add)
	add(inDev...)
	add(workDir{s.WorkDir})
	if s.ReadOnly {
		add(readOnlyRoot{})
	}
	if !s.limits("nofile") {
		add(restoreLimits{})
	}
	if s.TTY {
		add(ownTerminal{})
	} else if !s.Stdin && !p.HandOver { // systemd's StandardInput= is what the unit asked for
		add(emptyStdin{})
	}
	if s.Init {
		add(makeInit{})
	}
	files, others := s.splitLimits()
	if len(others) > 0 {
		add(setLimits{others})
	}
	if !host.Root && !isRoot(s.User) {
		add(mapUser{s.User})
	}
	if s.AppArmor != "" {
		add(enterAppArmor{s.AppArmor})
	}
	add(s.lockDown(p.Caps, becomeUser{s.User, host.Root})...)
	if !p.HandOver {
		add(dieWithParent{Again: true})
	}
	add(closeFiles{3 + s.ListenFDs, host.CloseOneByOne}, program{Argv: s.Argv, Path: env(s.Env, "PATH"), Ready: p.HandOver && s.Notify == "", Init: p.initName(), Files: files, Asked: p.asked()})
}

// ownTrees lets the child clone what the parent can't send: without root only
// the child, root in its own name-space, may do that.
func (p *Plan) ownTrees(add func(...Step)) {
	s := p.Spec
	switch {
	case len(s.Layers) > 0:
		add(makeOverlay{Layers: s.Layers, Inside: true, Suid: s.NewPrivileges, Volatile: s.Remove})
	case s.RootOverlay:
		add(makeOverlay{Layers: []string{s.RootFS}, Inside: true, Suid: s.NewPrivileges, Volatile: s.Remove})
	default:
		add(cloneTree{Name: "root", Path: s.RootFS, Suid: s.NewPrivileges})
	}
	for i, v := range s.Volumes {
		add(cloneTree{Name: volumeName(i), Path: v.Source, ReadOnly: v.ReadOnly, NoExec: v.NoExec})
	}
	if s.Notify != "" {
		add(cloneTree{Name: "notify", Path: s.Notify, ReadOnly: true})
	}
}

// devices are bound from the machine: a user name-space can't make nodes. They,
// too, are bound read-only: a device can be written to all the same, but root
// inside, which may be root outside, can't change the modes of the machine's.
var devices = []string{"full", "null", "random", "tty", "urandom", "zero"}

// makeSystem makes the kernel's file systems and the devices, attached to
// nothing yet: this needs the machine's mounts still in sight.
func (p *Plan) makeSystem(host Host, add func(...Step)) {
	const plain = "nosuid,nodev,noexec"
	pts := "newinstance,ptmxmode=0666,mode=0620"
	if host.Root {
		pts += ",gid=5"
	}
	shm := "65536k"
	if p.Spec.ShmBytes > 0 {
		shm = strconv.FormatUint(p.Spec.ShmBytes, 10)
	}
	add(
		makeFS{Name: "proc", Type: "proc", Attr: plain},
		makeFS{Name: "etc", Type: "tmpfs", Options: "mode=0755,size=1024k", Attr: plain},
		makeFS{Name: "dev", Type: "tmpfs", Options: "mode=0755,size=65536k", Attr: "nosuid"},
		makeFS{Name: "devpts", Type: "devpts", Options: pts, Attr: "nosuid,noexec"},
	)
	if !joins(p.Spec.Network) { // else it comes through the gate
		add(p.sysfs(host, "ro,"+plain))
	}
	p.makeIPC(shm, plain, add)
	if host.Cgroup2 {
		p.makeCgroup(plain, add)
	}
	for _, d := range devices {
		add(cloneTree{Name: "dev/" + d, Path: "/dev/" + d, ReadOnly: true, NoExec: true})
	}
	for i, d := range p.Spec.Devices {
		add(cloneTree{Name: deviceName(i), Path: d.Source, ReadOnly: true})
	}
	if len(host.ProcDirs) > 0 || p.machinesSys(host) {
		add(makeFS{Name: "nothing", Type: "tmpfs", Options: "mode=0555", Attr: "ro," + plain})
	}
	for i, t := range p.Spec.Tmpfs {
		opts, attr := tmpfsOptions(t.Options)
		add(makeFS{Name: fmt.Sprintf("tmpfs %d", i+1), Type: "tmpfs", Options: opts, Attr: attr, Flag: t.flag()})
	}
}

// machinesSys reports whether /sys is the machine's own.
func (p *Plan) machinesSys(host Host) bool { return !p.NetNS && !host.Root }

// sysfs makes /sys. It shows the network, so only who owns that may make it;
// without root the machine's network comes with the machine's /sys.
func (p *Plan) sysfs(host Host, attr string) Step {
	if p.machinesSys(host) {
		return cloneTree{Name: "sysfs", Path: "/sys", ReadOnly: true, NoExec: true}
	}
	return makeFS{Name: "sysfs", Type: "sysfs", Attr: attr}
}

func deviceName(i int) string { return fmt.Sprintf("device %d", i+1) }

func (p *Plan) attachSystem(host Host, add func(...Step)) {
	add(
		attach{Name: "proc", Target: "/proc", Strict: true},
		attach{Name: "sysfs", Target: "/sys", Strict: true},
		attach{Name: "dev", Target: "/dev", Strict: true},
		attach{Name: "devpts", Base: "dev", Target: "pts"},
		attach{Name: "mqueue", Base: "dev", Target: "mqueue", Optional: p.Spec.IPC == IPCHost},
	)
	if p.Spec.IPC != IPCNone {
		add(attach{Name: "shm", Base: "dev", Target: "shm"})
	}
	if host.Cgroup2 {
		add(attach{Name: "cgroup", Base: "sysfs", Target: "fs/cgroup", Exists: true})
	}
	for _, d := range devices {
		add(attach{Name: "dev/" + d, Base: "dev", Target: d, File: true})
	}
	if p.Spec.Notify != "" {
		add(attach{Name: "notify", Base: "dev", Target: path.Base(NotifySocket), File: true})
	}
	add(devLinks{})
	if p.NetNS && host.Root {
		add(
			sysctl{Name: "net.ipv4.ping_group_range", Value: "0 65535", Optional: true},
			sysctl{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0", Optional: true},
		)
	}
	for _, c := range p.Spec.Sysctls {
		add(sysctl{Name: c.Name, Value: c.Value})
	}
	if p.machinesSys(host) && !host.Cgroup2 {
		add(mask{Path: "/sys/fs/cgroup", Dir: true})
	}
	for _, f := range p.Spec.stillMasked(host.ProcFiles) {
		add(mask{Path: f})
	}
	for _, d := range p.Spec.stillMasked(host.ProcDirs) {
		add(mask{Path: d, Dir: true})
	}
	for _, f := range p.Spec.stillMasked(host.ReadOnly) {
		add(readOnlyPath{f})
	}
}

// attachUser attaches what the user wants, and what goes over the image's /etc.
// It returns the steps that must come when /dev is there.
func (p *Plan) attachUser(host Host, add func(...Step)) (inDev []Step) {
	s := p.Spec
	plainRoot := len(s.Layers) == 0 && !s.RootOverlay
	var mounts []attach
	for i, t := range s.Tmpfs {
		mounts = append(mounts, attach{Name: fmt.Sprintf("tmpfs %d", i+1), Target: path.Clean(t.Target), Flag: t.flag()})
	}
	for i, v := range s.Volumes {
		mounts = append(mounts, attach{Name: volumeName(i), Target: path.Clean(v.Target), File: v.file, Flag: v.flag()})
	}
	for i, d := range s.Devices {
		mounts = append(mounts, attach{Name: deviceName(i), Target: path.Clean(d.Target), File: !d.dir, Flag: "--device=" + d.Source + ":" + d.Target})
	}
	// /a before /a/b, whatever the order they were given in.
	slices.SortStableFunc(mounts, func(a, b attach) int { return strings.Compare(a.Target, b.Target) })
	taken := map[string]bool{}
	for _, m := range mounts {
		taken[m.Target] = true
		if strings.HasPrefix(m.Target, "/dev/") {
			m.Strict = true // /proc and /sys are there by then: see childSteps
			inDev = append(inDev, m)
			continue
		}
		add(m)
	}
	for _, f := range etcFiles {
		if target := "/etc/" + f; !taken[target] {
			// In somebody's own directory nothing is made for comfort only.
			comfort := plainRoot && !s.Names.ask(f) && !(f == "hosts" && len(s.Bridge.Aliases)+len(s.Bridge.Gateway) > 0)
			// A link there, such as systemd-resolved's, leads to what no container has.
			add(attach{Name: f, Target: target, File: true, Exists: comfort, OnLink: true, Optional: comfort})
		}
	}
	if s.Zone != "" && !taken["/etc/"+localtime] {
		add(attach{Name: localtime, Target: "/etc/" + localtime, File: true, OnLink: true})
	}
	return inDev
}

// tmpfsOptions splits mount options into those of the file system and those of
// the mount. As docker has it, nothing in it is executable unless exec says so.
func tmpfsOptions(list string) (options, attr string) {
	flags := map[string]bool{"nosuid": true, "nodev": true, "noexec": true}
	var opts []string
	for _, o := range strings.Split(list, ",") {
		switch o {
		case "":
		case "ro":
			flags["ro"] = true
		case "rw":
			delete(flags, "ro")
		case "suid", "dev", "exec":
			delete(flags, "no"+o)
		case "nosuid", "nodev", "noexec":
			flags[o] = true
		default:
			opts = append(opts, o)
		}
	}
	var attrs []string
	for _, f := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if flags[f] {
			attrs = append(attrs, f)
		}
	}
	return strings.Join(opts, ","), strings.Join(attrs, ",")
}

// String prints the plan as --explain does.
func (p *Plan) String() string {
	var b strings.Builder
	s := p.Spec
	what := "directory " + s.RootFS
	if s.Image != "" {
		what = "image " + s.Image
		if s.Digest != "" {
			what += " (" + s.Digest + ")"
		}
	}
	fmt.Fprintf(&b, "container %s: %s\n", s.Name, what)
	explain(&b, s.Argv, strings.Join(p.Namespaces, " "), p.UserNS, p.Caps,
		part{"nsrun", p.Parent}, part{"the new process", p.Child}, part{"nsrun, once the gate is open", p.After})
	return b.String()
}
