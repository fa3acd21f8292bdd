package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestID(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"plain", "0123456789abcdef0123456789abcdef\n", "0123456789abcdef0123456789abcdef"},
		{"as a UUID", "01234567-89AB-cdef-0123-456789abcdef", "0123456789abcdef0123456789abcdef"},
		{"uninitialized", "uninitialized\n", ""},
		{"empty", "", ""},
		{"all zero", strings.Repeat("0", 32), ""},
	} {
		root := t.TempDir()
		write(t, root, "etc/machine-id", tt.text)
		got, err := ID(root)
		if string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if _, err := ID(t.TempDir()); err == nil || !strings.Contains(err.Error(), "systemd-machine-id-setup") {
		t.Errorf("no file: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	root := t.TempDir()
	write(t, root, "etc/os-release", "NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n")
	write(t, root, "proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n")
	write(t, root, "proc/sys/kernel/pid_max", "4194304\n")
	write(t, root, "proc/sys/kernel/threads-max", "15000\n")
	static := map[string]string{"region": "eu", "hostname": "liar"}
	m, err := Describe(Config{Root: root, Hostname: "m1", Address: "10.0.0.1", Metadata: static, Systemd: "252", Software: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if m.Metadata["hostname"] != "m1" || m.Metadata["region"] != "eu" || static["hostname"] != "liar" {
		t.Errorf("metadata %v, the caller's %v", m.Metadata, static)
	}
	if m.Facts["os"] != "debian-12" || m.Facts["systemd"] != "252" || m.Facts["kernel"] == "" || m.Facts["arch"] == "" {
		t.Errorf("facts %v", m.Facts)
	}
	if m.MemoryBytes != 2048<<10 || m.Cpus == 0 || m.TasksMax != 15000 {
		t.Errorf("memory %d, cpus %d, tasks %d", m.MemoryBytes, m.Cpus, m.TasksMax)
	}
	if _, err := Describe(Config{Address: "m1.example"}); err == nil || !strings.Contains(err.Error(), "is no IP address") {
		t.Errorf("bad address: %v", err)
	}
}

func TestDefaultInterface(t *testing.T) {
	routes := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
		"wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n" +
		"eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n" +
		"eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	if got := defaultInterface(routes); got != "eth0" {
		t.Errorf("got %q", got)
	}
	zero := strings.Repeat("0", 32)
	routes6 := zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n" +
		zero + " 00 " + zero + " 00 " + zero + " ffffffff 00000001 00000000 00200200       lo\n"
	if got := defaultInterface6(routes6); got != "eth0" {
		t.Errorf("IPv6: got %q", got)
	}
	if got := defaultInterface(""); got != "" {
		t.Errorf("none: got %q", got)
	}
}
