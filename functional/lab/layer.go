package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// programs are the ones every machine gets; the lab can do without those
// marked false, which then are missing inside.
var programs = map[string]bool{"clusterctl": true, "clusterd": false, "nsrun": false, "nsrun-full": false, "nsrun-image": false, "nsrun-network": false}

// unitDirs are where packages put units, and what they start at boot.
var unitDirs = []string{"usr/lib/systemd/system", "lib/systemd/system", "usr/local/lib/systemd/system"}

// hidden are directories of the host that no machine sees anything of: what the
// administrator has enabled, and any cluster the host itself belongs to.
var hidden = []string{"etc/systemd", "etc/clusterd", "etc/nsrun", "etc/rc.local.d"}

// wanted is what a machine starts at boot, by target.
var wanted = map[string][]string{
	"sockets.target.wants": {"dbus.socket", "systemd-journald.socket", "systemd-journald-dev-log.socket"},
	"sysinit.target.wants": {"systemd-journald.service", "systemd-journal-flush.service", "systemd-tmpfiles-setup.service"},
}

// files are those of the layer that are the same in every lab.
var files = map[string]string{
	"etc/fstab":       "",
	"etc/resolv.conf": "",
	"etc/environment": "",
	"etc/systemd/journald.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=256M\nForwardToSyslog=no\n" +
		"RateLimitIntervalSec=0\nAudit=\n",
	"etc/nsrun/registries.conf": "# Short names mean the lab's registry.\n" +
		"[Registry docker.io]\nLocation=" + registryAddress + "\n\n" +
		"[Registry " + registryAddress + "]\nCAFile=/etc/nsrun/registry-ca.crt\n",
	"etc/systemd/system.conf": "[Manager]\nShowStatus=no\n",
	"usr/lib/systemd/system/docker.service": "[Unit]\nDescription=Inert stand-in: nsrun needs no daemon, units may name one\n" +
		"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
}

var links = map[string]string{
	"usr/bin/docker":                    "nsrun",
	"etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
	// The kernel's audit records are the host's business.
	"etc/systemd/system/systemd-journald-audit.socket": "/dev/null",
}

// buildLayer makes the directory that lies between the host's files and each
// machine's own: our programs, and nothing of what the host would start.
func (p places) buildLayer(bin string) error {
	l := p.layer()
	for _, dir := range []string{"usr/bin", "etc"} {
		if err := os.MkdirAll(filepath.Join(l, dir), 0o755); err != nil {
			return err
		}
	}
	for name, needed := range programs {
		err := copyFile(filepath.Join(bin, name), p.program(name))
		if errors.Is(err, fs.ErrNotExist) && !needed {
			continue
		}
		if err != nil {
			return fmt.Errorf("take the programs from %s: %w; build them first: make build", bin, err)
		}
	}
	if err := hideHostUnits(l); err != nil {
		return fmt.Errorf("hide the host's units: %w", err)
	}
	for name, text := range files {
		if err := putFile(filepath.Join(l, name), text, 0o644); err != nil {
			return err
		}
	}
	for link, to := range links {
		if err := os.Symlink(to, filepath.Join(l, link)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// hideHostUnits makes opaque directories of all that tells systemd to start
// something by itself, generators included, and fills in what is wanted.
func hideHostUnits(layer string) error {
	for _, dir := range append([]string{"etc/systemd/system"}, hidden...) {
		if err := os.MkdirAll(filepath.Join(layer, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range hidden {
		if err := opaque(filepath.Join(layer, dir)); err != nil {
			return err
		}
	}
	for _, dir := range unitDirs {
		host := filepath.Join("/", dir)
		if resolved, err := filepath.EvalSymlinks(host); err != nil || resolved != host {
			continue // missing, or merged into /usr
		}
		entries, err := os.ReadDir(host)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".wants") && !strings.HasSuffix(e.Name(), ".requires") {
				continue
			}
			if err := onlyWanted(filepath.Join(layer, dir, e.Name()), host, wanted[e.Name()]); err != nil {
				return err
			}
		}
		for _, generators := range []string{"system-generators", "system-environment-generators"} {
			gen := filepath.Join(layer, filepath.Dir(dir), generators)
			if err := onlyWanted(gen, "", nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// onlyWanted makes dir an opaque directory with links to the units of host
// that are named.
func onlyWanted(dir, host string, units []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := opaque(dir); err != nil {
		return err
	}
	for _, u := range units {
		if _, err := os.Stat(filepath.Join(host, u)); err != nil {
			continue
		}
		if err := os.Symlink(filepath.Join(host, u), filepath.Join(dir, u)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// opaque makes an overlay show nothing of the layers below dir.
func opaque(dir string) error {
	if err := unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("mark %s opaque: %w; the lab needs a filesystem with trusted attributes, such as ext4, xfs or btrfs", dir, err)
	}
	return nil
}

func putFile(path, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, []byte(text), mode)
}

// copyFile copies a program. A copy, not a link: building again must not change
// what runs in the lab.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
