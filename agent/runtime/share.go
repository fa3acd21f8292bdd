package runtime

import (
	"errors"
	"fmt"
)

// What Spec.IPC can be beside "", memory and queues of the container's own.
const (
	IPCHost = "host" // the machine's
	IPCNone = "none" // its own, and no /dev/shm
)

// namespaces are those the container gets of its own, by their names in
// /proc/PID/ns.
func (s *Spec) namespaces() []string {
	list := []string{"mnt", "pid"}
	if s.IPC != IPCHost {
		list = append(list, "ipc")
	}
	if !s.HostUTS {
		list = append(list, "uts")
	}
	if !s.HostCgroupNS {
		list = append(list, "cgroup")
	}
	return list
}

func checkShared(s *Spec, host Host) error {
	switch s.IPC {
	case "", IPCNone:
	case IPCHost:
		if s.ShmBytes > 0 {
			return errors.New("--shm-size: with --ipc=host /dev/shm is the machine's; leave one of the two out")
		}
		if !host.Root {
			return errors.New("--ipc=host: needs root; leave it out")
		}
	default:
		return fmt.Errorf("--ipc=%s: there are private (the default), none and host", s.IPC)
	}
	return nil
}

// makeIPC makes /dev/shm and /dev/mqueue. The machine's own can only be bound:
// a user name-space may not mount what belongs to another's.
func (p *Plan) makeIPC(shm, attr string, add func(...Step)) {
	if p.Spec.IPC == IPCHost {
		add(cloneTree{Name: "shm", Path: "/dev/shm"}, cloneTree{Name: "mqueue", Path: "/dev/mqueue", Optional: true})
		return
	}
	if p.Spec.IPC != IPCNone {
		add(makeFS{Name: "shm", Type: "tmpfs", Options: "mode=1777,size=" + shm, Attr: attr})
	}
	add(makeFS{Name: "mqueue", Type: "mqueue", Attr: attr})
}

// makeCgroup makes the view of cgroups: from the container's own up, or the
// machine's whole tree, which a user name-space can only be shown a bind of.
func (p *Plan) makeCgroup(attr string, add func(...Step)) {
	if p.Spec.HostCgroupNS {
		add(cloneTree{Name: "cgroup", Path: "/sys/fs/cgroup", ReadOnly: true})
		return
	}
	add(makeFS{Name: "cgroup", Type: "cgroup2", Attr: "ro," + attr})
}

// volumeTree is how a volume is made.
func volumeTree(i int, v Volume, mapped bool) makeTree {
	t := makeTree{Name: volumeName(i), Source: v.Source, Mapped: mapped, ReadOnly: v.ReadOnly, NoExec: v.NoExec, Slave: v.Slave, Resolved: true}
	if v.Fill {
		t.Fill = v.Target
	}
	return t
}
