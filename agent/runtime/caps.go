package runtime

import (
	"fmt"
	"strings"
)

// capNames holds the kernel's capabilities in the order of their numbers.
var capNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
	SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
	AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON
	BPF CHECKPOINT_RESTORE`)

// capsDefault are kept unless dropped: the set podman settled on.
var capsDefault = strings.Fields(`CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP
	SETUID SYS_CHROOT`)

// capSet is a set of capabilities, bit n for number n.
type capSet uint64

func capNumber(name string) (int, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	for n, known := range capNames {
		if known == name {
			return n, true
		}
	}
	return 0, false
}

// capabilities returns the set left after add and drop; drop wins, ALL is all.
func capabilities(add, drop []string) (capSet, error) {
	var set capSet
	change := func(list []string, flag string, do func(bits capSet)) error {
		for _, name := range list {
			if strings.EqualFold(name, "ALL") {
				do(capSet(1)<<len(capNames) - 1)
				continue
			}
			n, ok := capNumber(name)
			if !ok {
				return fmt.Errorf("%s %s: no such capability; see capabilities(7)", flag, name)
			}
			do(capSet(1) << n)
		}
		return nil
	}
	plus := func(bits capSet) { set |= bits }
	minus := func(bits capSet) { set &^= bits }
	if err := change(capsDefault, "default", plus); err != nil {
		return 0, err
	}
	for _, name := range drop {
		if strings.EqualFold(name, "ALL") {
			set = 0 // so that --cap-drop=ALL --cap-add=X leaves X, as docker has it
		}
	}
	if err := change(add, "--cap-add", plus); err != nil {
		return 0, err
	}
	var single []string
	for _, name := range drop {
		if !strings.EqualFold(name, "ALL") {
			single = append(single, name)
		}
	}
	return set, change(single, "--cap-drop", minus)
}

// String lists the capabilities in the order of their numbers.
func (s capSet) String() string {
	var names []string
	for n, name := range capNames {
		if s&(1<<n) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

func (s capSet) has(n int) bool { return s&(1<<n) != 0 }
