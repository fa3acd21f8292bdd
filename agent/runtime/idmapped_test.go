package runtime

import (
	"fmt"
	"testing"
)

func TestMountsOf(t *testing.T) {
	const info = `21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /srv rw - nfs4 box:/srv rw
31 30 0:41 / /srv/a rw - tmpfs none rw
32 30 0:42 / /srv/with\040blank rw master:2 - fuse.sshfs x rw
33 21 0:43 / /srvx rw - xfs x rw
34 30 0:44 / /srv/a rw - btrfs none rw
broken
`
	for file, want := range map[string]string{
		"/":                 "[{/ ext4} {/srv nfs4} {/srv/a tmpfs} {/srv/with blank fuse.sshfs} {/srvx xfs} {/srv/a btrfs}]",
		"/srv":              "[{/srv nfs4} {/srv/a tmpfs} {/srv/with blank fuse.sshfs} {/srv/a btrfs}]",
		"/srv/":             "[{/srv nfs4} {/srv/a tmpfs} {/srv/with blank fuse.sshfs} {/srv/a btrfs}]",
		"/srv/a/b":          "[{/srv/a/b btrfs}]",
		"/srv/with blank/x": "[{/srv/with blank/x fuse.sshfs}]",
		"/home":             "[{/home ext4}]",
	} {
		if got := fmt.Sprint(mountsOf(file, info)); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}
