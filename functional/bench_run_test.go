package functional

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/functional/lab"
)

// insideVariable, set to a file's name, makes this benchmark the half of itself
// that runs on a machine and writes its samples there.
const insideVariable = "CLUSTERD_BENCH_SAMPLES"

// BenchmarkRun is the time nsrun takes to run /bin/true in a container, against
// crun, with and without a user name-space, in the same name-spaces. nsrun finds
// its image in the store, makes an overlay and loads its system call filter;
// crun is given a plain directory and no filter.
func BenchmarkRun(b *testing.B) {
	if file := os.Getenv(insideVariable); file != "" {
		runInside(b, file)
		return
	}
	c := ownCluster(b, lab.Options{Name: benchName(), Machines: 1, Bare: true})
	c.must("m1", "nsrun", "pull", "busybox")
	samples := c.measureInside("m1")
	t := newTable("/bin/true in a container\twall\tCPU\tpeak RSS\twall ratio\tCPU ratio")
	for _, pair := range [][2]string{{"nsrun", "crun+user"}, {"nsrun --userns=host", "crun"}} {
		ours, theirs := samples[pair[0]], samples[pair[1]]
		wall, cpu := middle(ratios(ours.Wall, theirs.Wall)), middle(ratios(ours.CPU, theirs.CPU))
		t.row("%s\t%s\t%s\t%.1f MiB\t%.2f\t%.2f", pair[0], ms(middle(ours.Wall)), ms(middle(ours.CPU)), ours.Peak, wall, cpu)
		t.row("%s\t%s\t%s\t%.1f MiB", pair[1], ms(middle(theirs.Wall)), ms(middle(theirs.CPU)), theirs.Peak)
		if pair[0] == "nsrun" {
			report(b, middle(ours.Wall), "ms/run")
			b.ReportMetric(wall, "x-crun")
			b.ReportMetric(ours.Peak, "MiB-peak")
		}
	}
	floor := samples["no container"]
	t.row("no container\t%s\t%s\t%.1f MiB", ms(middle(floor.Wall)), ms(middle(floor.CPU)), floor.Peak)
	t.print(b)
}

// sample is what one way to run /bin/true took, round by round.
type sample struct {
	Wall, CPU []time.Duration
	Peak      float64 // MiB, of the largest process
}

// measureInside runs this very program's other half on a machine: a start there
// is a matter of a millisecond or two, which entering the machine would drown.
func (c *cluster) measureInside(machine string) map[string]sample {
	c.Helper()
	self, err := os.Executable()
	if err != nil {
		c.Fatal(err)
	}
	program, err := os.Open(self)
	if err != nil {
		c.Fatal(err)
	}
	defer program.Close()
	var out bytes.Buffer
	code, err := c.lab.Shell(c.Context(), machine, []string{"bash", "-euc", "cat > /root/bench.test; chmod +x /root/bench.test"}, program, &out, &out)
	if err != nil || code != 0 {
		c.Fatalf("copy the benchmark to %s: exit code %d, %v: %s", machine, code, err, out.String())
	}
	// crun refuses a tree of cgroups that is half v1.
	c.must(machine, "unshare", "--mount", "bash", "-euc", insideVariable+`=/root/samples CLUSTERD_BIN=/usr/bin
export `+insideVariable+` CLUSTERD_BIN
umount --recursive /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
exec /root/bench.test -test.run '^$' -test.bench '^BenchmarkRun$' -test.benchtime 1x`)
	samples := map[string]sample{}
	if err := json.Unmarshal([]byte(c.must(machine, "cat", "/root/samples")), &samples); err != nil {
		c.Fatal(err)
	}
	return samples
}

// runInside measures, on a machine, each way in turn.
func runInside(b *testing.B, file string) {
	bundles := map[string]string{"crun": makeBundle(b, false), "crun+user": makeBundle(b, true)}
	crun := func(name string) []string {
		return []string{"crun", "--cgroup-manager=disabled", "run", "--bundle", bundles[name], "bench"}
	}
	ways := map[string][]string{
		"no container":        {"busybox", "true"},
		"nsrun":               {"nsrun", "run", "--rm", "busybox", "/bin/true"},
		"crun+user":           crun("crun+user"),
		"nsrun --userns=host": {"nsrun", "run", "--rm", "--userns=host", "busybox", "/bin/true"},
		"crun":                crun("crun"),
	}
	samples := map[string]sample{}
	const warm, rounds = 3, 40
	for round := range warm + rounds {
		for name, argv := range ways { // in whatever order
			cmd := exec.Command(argv[0], argv[1:]...)
			begun := time.Now()
			out, err := cmd.CombinedOutput()
			took := time.Since(begun)
			if err != nil {
				b.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
			}
			if round >= warm {
				s := samples[name]
				s.Wall = append(s.Wall, took)
				s.CPU = append(s.CPU, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
				samples[name] = s
			}
		}
	}
	unit := peakUnit(b)
	for name, argv := range ways {
		s := samples[name]
		s.Peak = peak(b, argv...) * unit / 1024
		samples[name] = s
	}
	text, err := json.Marshal(samples)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		b.Fatal(err)
	}
}

// peak is the largest resident set of a command, in units of peakUnit. It is
// asked of a small program, since a process begins with its parent's.
func peak(b *testing.B, argv ...string) float64 {
	b.Helper()
	cmd := exec.Command("busybox", append([]string{"time", "-f", "peak %M"}, argv...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	_, text, _ := strings.Cut(string(out), "peak ")
	kib, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		b.Fatalf("%s: no peak in %q", strings.Join(argv, " "), out)
	}
	return kib
}

// peakUnit is how many KiB the unit of busybox' time is, which takes pages for
// KiB in some versions.
func peakUnit(b *testing.B) float64 {
	b.Helper()
	out, err := exec.Command("busybox", "sh", "-c", "busybox time -f %M busybox grep VmHWM /proc/self/status 2>&1").CombinedOutput()
	var kib, told float64
	if _, scanErr := fmt.Sscanf(string(out), "VmHWM: %f kB\n%f", &kib, &told); err != nil || scanErr != nil {
		b.Fatalf("peak of busybox: %v: %s", err, out)
	}
	if told > 2*kib {
		return 0.25
	}
	return 1
}

// makeBundle makes what crun runs: crun's own defaults, in the name-spaces and
// with the capabilities of nsrun's, without the cgroup tree, which nsrun doesn't
// show either.
func makeBundle(b *testing.B, user bool) string {
	b.Helper()
	dir := b.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // the container's root isn't ours
		b.Fatal(err)
	}
	setUp := exec.Command("sh", "-ec", "mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev; cp /usr/bin/busybox rootfs/bin/; ln -s busybox rootfs/bin/true; crun spec")
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
	capabilities := strings.Fields("CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_SETFCAP")
	config.Process["args"] = []string{"/bin/true"}
	config.Process["terminal"] = false
	config.Process["capabilities"] = map[string]any{"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
	delete(config.Process, "rlimits")
	delete(config.Linux, "resources")
	var mounts []map[string]any
	for _, m := range config.Mounts {
		if m["type"] != "cgroup" {
			mounts = append(mounts, m)
		}
	}
	config.Mounts = mounts
	namespaces := []map[string]string{{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}}
	if user {
		ids := []map[string]int{{"containerID": 0, "hostID": 1 << 20, "size": 1 << 16}}
		namespaces = append(namespaces, map[string]string{"type": "user"})
		config.Linux["uidMappings"], config.Linux["gidMappings"] = ids, ids
	}
	config.Linux["namespaces"] = namespaces
	if text, err = json.Marshal(config); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}
