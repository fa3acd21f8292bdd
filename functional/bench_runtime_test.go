package functional

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/functional/lab"
)

// insideVariable, set to a file's name, makes a benchmark the half of itself
// that runs on a machine and writes its samples there.
const insideVariable = "CLUSTERD_BENCH_SAMPLES"

// way is one way to do what is measured: a command.
type way struct {
	Name string
	Argv []string
	Env  []string // beside that of the benchmark
	// Apart from the others, and after them, goes one that leaves the disk busy.
	Apart bool
}

// sample is what one way took, round by round.
type sample struct {
	Wall, CPU []time.Duration
	Peak      float64 // MiB, of the largest process
}

// gate is what a ratio of two ways' wall time may be at most.
type gate struct {
	ours, theirs string
	most, goal   float64 // 0: none
}

// inMemory is nsrun with its store on a tmpfs: what the disk costs is the difference.
const inMemory = "nsrun, store in memory"

// BenchmarkRuntimeStart is the time it takes to run /bin/true in a container.
// nsrun finds its image in the store, makes an overlay and loads its system call
// filter; crun and runc are given a plain directory, with and without a filter,
// in the same name-spaces; podman is given an image.
func BenchmarkRuntimeStart(b *testing.B) {
	if inside(b, startWays) {
		return
	}
	samples := onMachine(b, "BenchmarkRuntimeStart")
	compare(b, "/bin/true in a container", samples, startWays(nil), []gate{
		{"nsrun", "crun +user", 1, 0.8},
		{"nsrun", "crun +user +seccomp", 0.4, 0},
		{ours: inMemory, theirs: "crun +user"},
	})
	report(b, middle(samples["nsrun"].Wall), "ms/run")
	if peak := samples["nsrun"].Peak; peak > 4 {
		b.Errorf("peak of nsrun run: %.1f MiB, want 4 at most", peak)
	}
}

// startWays are the ways to start a container. Without b they are just named.
func startWays(b *testing.B) []way {
	bundle := func(user, filter bool) string {
		if b == nil {
			return ""
		}
		return makeBundle(b, user, filter, "/bin/true")
	}
	oci := func(runtime, bundle string) []string {
		argv := []string{runtime, "run", "--bundle", bundle, "bench"}
		if runtime == "crun" {
			argv = []string{"crun", "--cgroup-manager=disabled", "run", "--bundle", bundle, "bench"}
		}
		return argv
	}
	nsrunTrue := []string{"nsrun", "run", "--rm", "--network=none", "busybox", "/bin/true"}
	root, memory := "", ""
	if b != nil {
		memory = storeInMemory(b)
		root = makeBundle(b, false, false, "/bin/true") + "/rootfs"
		importImage(b, root)
	}
	return []way{
		{Name: "no container", Argv: []string{"busybox", "true"}},
		{Name: "nsrun", Argv: nsrunTrue},
		{Name: inMemory, Argv: nsrunTrue, Env: []string{"NSRUN_DIR=" + memory}},
		{Name: "crun +user", Argv: oci("crun", bundle(true, false))},
		{Name: "crun +user +seccomp", Argv: oci("crun", bundle(true, true))},
		{Name: "crun", Argv: oci("crun", bundle(false, false))},
		{Name: "runc +user +seccomp", Argv: oci("runc", bundle(true, true))},
		{Name: "bwrap", Argv: strings.Fields("bwrap --unshare-pid --unshare-net --unshare-ipc --unshare-uts --bind " + root + " / --proc /proc --dev /dev /bin/true")},
		{Name: "podman", Apart: true, Argv: strings.Fields("podman --runtime crun run --rm --network=none --cgroups=disabled --log-driver=none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 localhost/bench /bin/true")},
	}
}

// BenchmarkRuntimeExec is the time it takes to run /bin/true in a container that
// runs already.
func BenchmarkRuntimeExec(b *testing.B) {
	if inside(b, execWays) {
		return
	}
	compare(b, "exec /bin/true", onMachine(b, "BenchmarkRuntimeExec"), execWays(nil), []gate{{"nsrun exec", "crun exec", 0.8, 0}})
}

func execWays(b *testing.B) []way {
	if b != nil {
		idle(b, "nsrun", "run", "--rm", "--network=none", "--name", "idle", "busybox", "/bin/sleep", "600")
		idle(b, "crun", "--cgroup-manager=disabled", "run", "--bundle", makeBundle(b, true, true, "/bin/sleep", "600"), "idle")
	}
	return []way{
		{Name: "no container", Argv: []string{"busybox", "true"}},
		{Name: "nsrun exec", Argv: []string{"nsrun", "exec", "idle", "/bin/true"}},
		{Name: "crun exec", Argv: []string{"crun", "--cgroup-manager=disabled", "exec", "idle", "/bin/true"}},
	}
}

// BenchmarkRuntimeParallel is the time a hundred containers take that are
// started at once. There is no gate: each makes five files on the disk and deletes
// them, most of them the kernel's for overlay, which an ext4 without a journal, where it finds them deleted a minute
// later still, makes dearer with each (crun makes none: its root is there).
func BenchmarkRuntimeParallel(b *testing.B) {
	if inside(b, parallelWays) {
		return
	}
	compare(b, "100 at once", onMachine(b, "BenchmarkRuntimeParallel"), parallelWays(nil), []gate{{ours: "nsrun", theirs: "crun +user"}})
}

func parallelWays(b *testing.B) []way {
	hundred := func(command string) []string {
		return []string{"bash", "-euc", "pids=; for i in {1..100}; do " + command + " & pids+=\" $!\"; done; for p in $pids; do wait $p; done"}
	}
	bundle := ""
	if b != nil {
		bundle = makeBundle(b, true, false, "/bin/true")
	}
	return []way{
		{Name: "no container", Argv: hundred("busybox true")},
		{Name: "nsrun", Argv: hundred("nsrun run --rm --network=none busybox /bin/true")},
		{Name: "crun +user", Argv: hundred("crun --cgroup-manager=disabled run --bundle " + bundle + " bench$i")},
	}
}

// BenchmarkRuntimeLeft is what of a runtime is there while a container runs:
// nothing of nsrun in a unit, one small process in a shell.
func BenchmarkRuntimeLeft(b *testing.B) {
	c := ownCluster(b, lab.Options{Name: benchName(), Machines: 1, Bare: true})
	c.must("m1", "nsrun", "pull", "busybox")
	c.script("m1", `cat > /run/systemd/system/idle.service <<END
[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/nsrun run --name idle busybox /bin/sleep 600
END
systemctl start idle.service`)
	left := strings.Fields(c.script("m1", `cat /sys/fs/cgroup/systemd/system.slice/idle.service/cgroup.procs /sys/fs/cgroup/system.slice/idle.service/cgroup.procs 2>/dev/null || true`))
	main := strings.TrimSpace(c.must("m1", "systemctl", "show", "--value", "-p", "MainPID", "idle.service"))
	if len(left) == 0 || left[0] != main || left[len(left)-1] != main {
		b.Errorf("processes of the unit: %v, want the container's own, %s, alone", left, main)
	}
	shell := c.script("m1", `nsrun run --rm --name shell busybox /bin/sleep 8 & pid=$!
sleep 3 # by then it counts the container among those that stay
awk '/^VmRSS/ { print $2 }' /proc/$pid/status; kill $pid; wait $pid || true`)
	kib, err := strconv.ParseFloat(strings.TrimSpace(shell), 64)
	if err != nil {
		b.Fatalf("resident set of nsrun: %q", shell)
	}
	t := newTable("left of nsrun while a container runs\tprocesses\tresident")
	t.row("in a unit\t0\t0")
	t.row("in a shell\t1\t%.1f MiB", kib/1024)
	t.print(b)
	b.ReportMetric(kib/1024, "MiB-parent")
	b.ReportMetric(0, "ns/op")
	if kib > 3*1024 {
		b.Errorf("nsrun beside a container in a shell: %.1f MiB, want 3 at most", kib/1024)
	}
}

// compare prints what the ways took and holds the medians of the ratios, round
// by round, against the gates.
func compare(b *testing.B, head string, samples map[string]sample, ways []way, gates []gate) {
	b.Helper()
	t := newTable(head + "\twall\tCPU\tpeak RSS")
	for _, w := range ways {
		s := samples[w.Name]
		t.row("%s\t%s\t%s\t%.1f MiB", w.Name, ms(middle(s.Wall)), ms(middle(s.CPU)), s.Peak)
	}
	t.print(b)
	t = newTable("ratio\twall\tCPU\tgate\tgoal")
	for _, g := range gates {
		ours, theirs := samples[g.ours], samples[g.theirs]
		wall, cpu := middle(ratios(ours.Wall, theirs.Wall)), middle(ratios(ours.CPU, theirs.CPU))
		bound := func(ratio float64) string {
			if ratio == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f", ratio)
		}
		t.row("%s / %s\t%.2f\t%.2f\t%s\t%s", g.ours, g.theirs, wall, cpu, bound(g.most), bound(g.goal))
		b.ReportMetric(wall, "x-"+strings.ReplaceAll(g.theirs, " ", ""))
		if g.most > 0 && wall > g.most {
			b.Errorf("%s takes %.2f of the time of %s, want %.2f at most", g.ours, wall, g.theirs, g.most)
		}
	}
	t.print(b)
}

// onMachine runs a benchmark's other half on a machine: a start there is a matter
// of a millisecond or two, which entering the machine would drown.
func onMachine(b *testing.B, name string) map[string]sample {
	b.Helper()
	c := ownCluster(b, lab.Options{Name: benchName(), Machines: 1, Bare: true})
	c.must("m1", "nsrun", "pull", "busybox")
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
	code, err := c.lab.Shell(c.Context(), "m1", []string{"bash", "-euc", "cat > /root/bench.test; chmod +x /root/bench.test"}, program, &out, &out)
	if err != nil || code != 0 {
		c.Fatalf("copy the benchmark to m1: exit code %d, %v: %s", code, err, out.String())
	}
	// crun refuses a tree of cgroups that is half v1.
	c.must("m1", "unshare", "--mount", "bash", "-euc", insideVariable+`=/root/samples CLUSTERD_BIN=/usr/bin
export `+insideVariable+` CLUSTERD_BIN
umount --recursive /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /mnt/memory
mount -t tmpfs none /mnt/memory
# An ext4 without a journal, as ours may be, passes over every file that was
# deleted within the last minute, one by one, when it makes one.
sleep 61
exec /root/bench.test -test.run '^$' -test.bench '^`+name+`$' -test.benchtime 1x`)
	samples := map[string]sample{}
	if err := json.Unmarshal([]byte(c.must("m1", "cat", "/root/samples")), &samples); err != nil {
		c.Fatal(err)
	}
	return samples
}

// inside measures each way in turn, if this is the half of a benchmark that runs
// on a machine.
func inside(b *testing.B, list func(*testing.B) []way) bool {
	file := os.Getenv(insideVariable)
	if file == "" {
		return false
	}
	ways := list(b)
	samples := map[string]sample{}
	alone := slices.IndexFunc(ways, func(w way) bool { return w.Apart })
	if alone < 0 {
		alone = len(ways)
	}
	measure(b, ways[:alone], samples)
	measure(b, ways[alone:], samples)
	unit := peakUnit(b)
	for _, w := range ways {
		s := samples[w.Name]
		s.Peak = peak(b, w.Argv...) * unit / 1024
		samples[w.Name] = s
	}
	text, err := json.Marshal(samples)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		b.Fatal(err)
	}
	return true
}

// measure takes samples of ways, each round in another order.
func measure(b *testing.B, ways []way, samples map[string]sample) {
	b.Helper()
	order := rand.New(rand.NewPCG(1, 2))
	const warm, rounds = 2, 40
	for round := range warm + rounds {
		for _, i := range order.Perm(len(ways)) {
			w := ways[i]
			cmd := exec.Command(w.Argv[0], w.Argv[1:]...)
			cmd.Env = append(os.Environ(), w.Env...)
			begun := time.Now()
			out, err := cmd.CombinedOutput()
			took := time.Since(begun)
			if err != nil {
				b.Fatalf("%s: %v: %s", strings.Join(w.Argv, " "), err, out)
			}
			if round >= warm {
				s := samples[w.Name]
				s.Wall = append(s.Wall, took)
				s.CPU = append(s.CPU, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
				samples[w.Name] = s
			}
		}
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
