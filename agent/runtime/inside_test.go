package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUsersRefused(t *testing.T) {
	for _, row := range []struct{ name, file, value, want string }{
		{"nothing is in the way", "user/max_user_namespaces", "96364\n", ""},
		{"Debian's switch", "kernel/unprivileged_userns_clone", "0\n", "kernel.unprivileged_userns_clone=0 keeps"},
		{"Debian's switch, on", "kernel/unprivileged_userns_clone", "1\n", ""},
		{"none at all", "user/max_user_namespaces", "0\n", "user.max_user_namespaces=0 keeps"},
		{"Ubuntu's AppArmor", "kernel/apparmor_restrict_unprivileged_userns", "1\n", "AppArmor profile that has userns"},
	} {
		sys := t.TempDir()
		if err := os.MkdirAll(filepath.Join(sys, filepath.Dir(row.file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, row.file), []byte(row.value), 0o644); err != nil {
			t.Fatal(err)
		}
		got := usersRefused(sys)
		if (row.want == "") != (got == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// TestRefusedUserSaysWhy: where AppArmor lets an ordinary user make a user
// name-space and then do nothing in it, the step that fails names the setting.
func TestRefusedUserSaysWhy(t *testing.T) {
	spec := Spec{Name: "web", RootFS: "/srv", Argv: []string{"true"}, ID: strings.Repeat("0", idLength)}
	p, err := Make(spec, Host{UID: 1000, GID: 1000, UsersRefused: "kernel.x=1"})
	if err != nil {
		t.Fatal(err)
	}
	b := p.compile(&inputs{mail: &mail{}})
	for i, o := range b.ops {
		if o.nr == unix.SYS_SETHOSTNAME {
			if text := b.texts[i]; !strings.Contains(text, "(kernel.x=1)") {
				t.Errorf("it says %q", text)
			}
			return
		}
	}
	t.Error("no host name is set")
}

func TestLayerNames(t *testing.T) {
	names := layerNames(layersMax)
	if list := strings.Join(names, ":"); len(list) > 255 || strings.Count(list, ":") != layersMax-1 {
		t.Errorf("%d bytes for %d names: more than an option takes", len(list), len(names))
	}
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] || strings.ContainsAny(name, "/\\:,") || name == "." {
			t.Errorf("%q: twice, or it means something to overlay", name)
		}
		seen[name] = true
	}
}

// TestReadLayers: what an overlay of these layers would show.
func TestReadLayers(t *testing.T) {
	write := func(file, content string) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name string
		top  func(dir string)
		want string
	}{
		{"the lower one's", func(dir string) {}, "lower"},
		{"the upper one's", func(dir string) { write(dir+"/etc/passwd", "upper") }, "upper"},
		{"whited out", func(dir string) {
			write(dir+"/etc/x", "")
			if err := unix.Mknod(dir+"/etc/passwd", unix.S_IFCHR, 0); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"its directory whited out", func(dir string) {
			if err := unix.Mknod(dir+"/etc", unix.S_IFCHR, 0); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"its directory opaque", func(dir string) {
			write(dir+"/etc/x", "")
			if err := unix.Setxattr(dir+"/etc", "user.overlay.opaque", []byte("y"), 0); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"a link that leads out", func(dir string) {
			write(dir+"/etc/x", "")
			if err := os.Symlink("/../../../../etc/hostname", dir+"/etc/passwd"); err != nil {
				t.Fatal(err)
			}
		}, "lower"},
	} {
		dir := t.TempDir()
		write(dir+"/lower/etc/passwd", "lower")
		if err := os.Mkdir(dir+"/upper", 0o755); err != nil {
			t.Fatal(err)
		}
		row.top(dir + "/upper")
		got, err := readLayers([]string{dir + "/lower", dir + "/upper"}, "/etc/passwd")
		if err != nil || string(got) != row.want {
			t.Errorf("%s: %q, %v; want %q", row.name, got, err, row.want)
		}
	}
}
