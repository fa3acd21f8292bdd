package runtime

import (
	"strings"
	"testing"
)

// A volume is judged by what it is, not by the name it is given (B-10).
func TestB10_VolumesByOtherNames(t *testing.T) {
	mounts := parseMounts(`20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 0:20 / /run rw - tmpfs tmpfs rw
22 20 0:21 / /proc rw - proc proc rw
23 20 0:22 / /sys rw - sysfs sysfs rw
24 20 0:20 /systemd /tmp/alias rw - tmpfs tmpfs rw
25 20 8:1 /var/lib/docker /mnt/two\040words rw - ext4 /dev/sda1 rw
26 20 0:30 / /srv/jail/proc rw - proc proc rw
27 20 0:20 / /mnt/all rw - tmpfs tmpfs rw
28 20 8:2 / /data rw - xfs /dev/sda2 rw
29 20 8:1 / /mnt/root rw - ext4 /dev/sda1 rw
30 21 0:31 / /run/user/1000 rw - tmpfs tmpfs rw
31 20 0:31 / /mnt/user rw - tmpfs tmpfs rw
`)
	for _, row := range []struct {
		source string
		ro     bool
		want   string // "" is taken
	}{
		{"/srv/www", false, ""},
		{"/data", false, ""},
		{"/data/systemd", false, ""},
		{"/tmp/alias", false, "/tmp/alias, which is /run/systemd: would hand the container /run/systemd"},
		{"/tmp/alias/private", true, "which is /run/systemd/private: would hand"},
		{"/tmp", false, "which is /run/systemd: would hand"},
		{"/mnt/two words/volumes", false, "which is /var/lib/docker/volumes: would hand"},
		{"/mnt/all/app", false, ""},
		{"/mnt/all/dbus", false, "which is /run/dbus: would hand"},
		{"/mnt/all", false, "which is /run: would hand"},
		{"/mnt/root/srv/www", false, ""},
		{"/mnt/root/var/lib/nsrun", false, "which is /var/lib/nsrun: would hand"},
		{"/mnt/root", false, "which is /: would hand"},
		{"/mnt/user/bus", false, "which is /run/user/1000/bus: would hand"},
		{"/mnt/user/app", false, ""},
		{"/proc", false, "would let the container write into /proc (proc), by which it could rule this machine's kernel; bind it read-only: /proc:/x:ro"},
		{"/proc", true, ""},
		{"/proc/sys/kernel", false, "write into /proc/sys/kernel (proc)"},
		{"/sys", false, "(sysfs)"},
		{"/sys", true, ""},
		{"/srv/jail", false, "write into /srv/jail/proc (proc)"},
		{"/srv/jail", true, ""},
	} {
		err := checkVolume(mounts, Volume{Source: row.source, Target: "/x", ReadOnly: row.ro})
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v, want it taken", row.source, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: %v, want %q", row.source, err, row.want)
		}
	}
}
