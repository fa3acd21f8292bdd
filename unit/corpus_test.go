package unit_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

// corpus calls look with each unit file of testdata/corpus.
func corpus(t testing.TB, look func(path string, name unit.Name, src []byte)) {
	count := 0
	err := filepath.WalkDir("testdata/corpus", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := unit.ParseName(entry.Name())
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		count++
		look(path, name, src)
		return nil
	})
	if err != nil || count < 300 {
		t.Fatalf("testdata/corpus: %d files, %v", count, err)
	}
}

// What Debian's packages install is read, kept as it is, and nothing is wrong
// with it. Neither does systemd 252's own systemd-analyze verify find more than
// units and programs that are missing, and in two files settings that it takes
// and advises against: MemoryLimit= of freeradius, KillMode=none of ceph-osd.
func TestCorpus(t *testing.T) {
	corpus(t, func(path string, name unit.Name, src []byte) {
		f, err := unit.Parse(string(name), src)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if !bytes.Equal(f.Bytes(), src) {
			t.Errorf("%s: its bytes are not kept", path)
		}
		for _, p := range f.Check(name, unit.CheckOptions{Systemd: 252}) {
			t.Errorf("%s: %s", path, p)
		}
	})
}

// What is asked of those files for placement is answered for each of them.
func TestCorpusForPlacement(t *testing.T) {
	ports, limits := map[string]string{}, map[string]string{}
	corpus(t, func(path string, name unit.Name, src []byte) {
		f, err := unit.Parse(string(name), src)
		if err != nil {
			return // TestCorpus says so
		}
		lookAtAll(t, f, name)
		if o, err := f.Options(name); err != nil || len(o.Warnings) > 0 || o.Global || o.Requirements != nil || o.Conflicts != nil {
			t.Errorf("%s: asks the cluster for %+v, %v", path, o, err)
		}
		namesAll(t, path, name, f)
		file := strings.TrimPrefix(path, "testdata/corpus/")
		for _, p := range f.Ports(name) {
			ports[file] = strings.TrimSpace(ports[file] + " " + p.String())
		}
		r, err := f.Resources(name)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, resource := range []unit.Resource{r.Memory, r.CPU, r.Tasks} {
			if resource.From != "" {
				limits[file] = strings.TrimSpace(limits[file] + " " + resource.From + "=" + resource.String())
			}
		}
	})
	same(t, "port", ports, map[string]string{
		"cockpit-ws/cockpit.socket":                 "9090/tcp",
		"dovecot-core/dovecot.socket":               "143/tcp 143/tcp 993/tcp 993/tcp",
		"libvirt-daemon-system/libvirtd-tcp.socket": "16509/tcp",
		"libvirt-daemon-system/libvirtd-tls.socket": "16514/tcp",
		"mariadb-server/mariadb.socket":             "3306/tcp",
		"openssh-server/ssh.socket":                 "22/tcp",
		"proftpd-core/proftpd.socket":               "21/tcp",
		"rpcbind/rpcbind.socket":                    "111/tcp 111/udp 111/tcp 111/udp",
	})
	same(t, "limit", limits, map[string]string{
		"cockpit-ws/system-cockpithttps.slice":      "MemoryMax=90% TasksMax=200",
		"freeradius/freeradius.service":             "MemoryLimit=2147483648",
		"libvirt-daemon-system/libvirtd.service":    "TasksMax=32768",
		"mariadb-server/mariadb.service":            "TasksMax=99%",
		"mariadb-server/mariadb@.service":           "TasksMax=99%",
		"openvpn/openvpn@.service":                  "TasksMax=10",
		"systemd-container/systemd-nspawn@.service": "TasksMax=16384",
	})
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for file := range got {
		if got[file] != want[file] {
			t.Errorf("%s: %s %s, want %q", file, what, got[file], want[file])
		}
	}
	for file := range want {
		if got[file] == "" {
			t.Errorf("%s: no %s, want %s", file, what, want[file])
		}
	}
}

// namesAll checks that each unit which a file names, in plain words that need
// no machine to be expanded, is among its dependencies or in its Install.
func namesAll(t *testing.T, path string, name unit.Name, f *unit.File) {
	has := map[string][]string{}
	for _, d := range f.Dependencies(name) {
		has[d.Kind] = append(has[d.Kind], string(d.Unit))
	}
	install := f.Install(name)
	for key, names := range map[string][]unit.Name{"WantedBy": install.WantedBy, "RequiredBy": install.RequiredBy, "Alias": install.Alias, "Also": install.Also} {
		for _, n := range names {
			has[key] = append(has[key], string(n))
		}
	}
	for section, keys := range map[string]string{
		"Unit":    "Requires Requisite Wants BindsTo PartOf Upholds Conflicts Before After OnFailure OnSuccess",
		"Install": "WantedBy RequiredBy Alias Also",
	} {
		for _, key := range strings.Fields(keys) {
			for _, v := range f.Values(section, key) {
				for _, word := range strings.Fields(v.Text) {
					want, err := name.Expand(word)
					if err == nil && !slices.Contains(has[key], want) && !strings.Contains(want, "@.") {
						t.Errorf("%s:%d: %s=%s is not seen, only %q", path, v.Line, key, want, has[key])
					}
				}
			}
		}
	}
	if triggers := len(has[unit.Triggers]); strings.Contains("socket timer path", name.Type()) != (triggers == 1) {
		t.Errorf("%s: triggers %q", path, has[unit.Triggers])
	}
}
