package functional

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// containerCaps are the capabilities that nsrun leaves a container.
var containerCaps = strings.Fields("CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_SETFCAP")

// makeBundle makes what crun and runc run: crun's own defaults, in the
// name-spaces and with the capabilities of nsrun's, without the cgroup tree,
// which nsrun doesn't show either on a machine whose tree is half v1. The filter
// is podman's default.
func makeBundle(b *testing.B, user, filter bool, argv ...string) string {
	b.Helper()
	dir := b.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // the container's root isn't ours
		b.Fatal(err)
	}
	setUp := exec.Command("sh", "-ec", "mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev; cp /usr/bin/busybox rootfs/bin/; ln -s busybox rootfs/bin/true; ln -s busybox rootfs/bin/sleep; crun spec")
	setUp.Dir = dir
	if out, err := setUp.CombinedOutput(); err != nil {
		b.Fatalf("make a bundle: %v: %s", err, out)
	}
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var config struct {
		Version  string           `json:"ociVersion"`
		Process  map[string]any   `json:"process"`
		Root     map[string]any   `json:"root"`
		Hostname string           `json:"hostname"`
		Mounts   []map[string]any `json:"mounts"`
		Linux    map[string]any   `json:"linux"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		b.Fatal(err)
	}
	config.Process["args"] = argv
	config.Process["terminal"] = false
	config.Process["capabilities"] = map[string]any{"bounding": containerCaps, "effective": containerCaps, "permitted": containerCaps}
	delete(config.Process, "rlimits")
	delete(config.Linux, "resources")
	config.Mounts = slices.DeleteFunc(config.Mounts, func(m map[string]any) bool { return m["type"] == "cgroup" })
	namespaces := []map[string]string{{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}}
	if user {
		ids := []map[string]int{{"containerID": 0, "hostID": 1 << 20, "size": 1 << 16}}
		namespaces = append(namespaces, map[string]string{"type": "user"})
		config.Linux["uidMappings"], config.Linux["gidMappings"] = ids, ids
	}
	config.Linux["namespaces"] = namespaces
	if filter {
		config.Linux["seccomp"] = podmanFilter(b)
	}
	if text, err = json.Marshal(config); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}

// podmanFilter is podman's default system call filter as a runtime wants it:
// without the rules for other machines and other capabilities.
func podmanFilter(b *testing.B) map[string]any {
	b.Helper()
	text, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		b.Fatalf("podman's system call filter: %v; install podman", err)
	}
	type condition struct{ Caps, Arches []string }
	var profile struct {
		DefaultAction   string
		DefaultErrnoRet uint
		Syscalls        []struct {
			Names    []string
			Action   string
			ErrnoRet *uint
			Args     []map[string]any
			Includes condition
			Excludes condition
		}
	}
	if err := json.Unmarshal(text, &profile); err != nil {
		b.Fatal(err)
	}
	has := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(containerCaps, n) })
	}
	var rules []map[string]any
	for _, s := range profile.Syscalls {
		if len(s.Includes.Caps) > 0 && !has(s.Includes.Caps) || has(s.Excludes.Caps) ||
			len(s.Includes.Arches) > 0 && !slices.Contains(s.Includes.Arches, "amd64") {
			continue
		}
		rule := map[string]any{"names": s.Names, "action": s.Action}
		if s.ErrnoRet != nil {
			rule["errnoRet"] = *s.ErrnoRet
		}
		if len(s.Args) > 0 {
			rule["args"] = s.Args
		}
		rules = append(rules, rule)
	}
	return map[string]any{
		"defaultAction": profile.DefaultAction, "defaultErrnoRet": profile.DefaultErrnoRet,
		"architectures": []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}, "syscalls": rules,
	}
}

// storeInMemory copies nsrun's images to where the machine has put a tmpfs.
func storeInMemory(b *testing.B) string {
	b.Helper()
	const dir = "/mnt/memory"
	if out, err := exec.Command("cp", "-a", "/var/lib/nsrun/images", dir).CombinedOutput(); err != nil {
		b.Fatalf("copy the store: %v: %s", err, out)
	}
	return dir
}

// importImage gives podman an image made of a directory.
func importImage(b *testing.B, root string) {
	b.Helper()
	cmd := exec.Command("sh", "-ec", "tar -C "+root+" -c . | podman import --quiet - localhost/bench")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("podman import: %v: %s", err, out)
	}
}

// idle starts a container called idle and waits until it is there. It ends with
// the benchmark.
func idle(b *testing.B, argv ...string) {
	b.Helper()
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		exec.Command(argv[0], "kill", "idle", "KILL").Run()
		exec.Command(argv[0], "kill", "idle").Run()
		cmd.Wait()
	})
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		check := append(slices.Clone(argv[:1]), "exec", "idle", "/bin/true")
		if argv[0] == "crun" {
			check = []string{"crun", "--cgroup-manager=disabled", "exec", "idle", "/bin/true"}
		}
		if exec.Command(check[0], check[1:]...).Run() == nil {
			return
		}
	}
	b.Fatalf("%s: no container idle within 10 s: %s", strings.Join(argv, " "), out.String())
}
