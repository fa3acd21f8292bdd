package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/network"
)

// TestNetwork runs the real programs, each test on a machine that is a network
// name-space of its own: this machine's network stays as it is.
func TestNetwork(t *testing.T) {
	needRoot(t)
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, ".", "../nsrun-network", "./testdata/udpecho")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, test := range []struct {
		name string
		do   func(*machine)
	}{
		{"a container reaches others and the machine", testReach},
		{"published ports", testPublish},
		{"a published port is nobody's twice", testTaken},
		{"the machine's loopback is out of reach", testLoopback},
		{"all exposed ports", testPublishAll},
		{"another container's network", testContainerNetwork},
		{"a network name-space by its file", testFileNetwork},
		{"packets are passed on as before", testForward},
		{"B-04: killed at any moment", testKilled},
		{"a hundred at once", testParallel},
		{"where there can be no bridge", testUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) { test.do(newMachine(t, bin)) })
	}
}

// machine is a network name-space, the calling thread's, with a neighbour.
type machine struct {
	*testing.T
	bin, root, dir string
	outside        int // process in the neighbour's name-space
}

const (
	machineAddress   = "192.0.2.1"
	neighbourAddress = "192.0.2.2"
)

func newMachine(t *testing.T, bin string) *machine {
	goruntime.LockOSThread() // for good: the thread's network goes with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	m := &machine{T: t, bin: bin, root: filepath.Join(t.TempDir(), "root"), dir: t.TempDir()}
	busybox(t, m.root)
	for _, name := range strings.Fields("httpd ip wget nc ping") {
		if err := os.Symlink("busybox", filepath.Join(m.root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(m.root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hosts", "resolv.conf", "hostname"} {
		if err := os.WriteFile(filepath.Join(m.root, "etc", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(m.root, "index.html"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	neighbour := exec.Command("unshare", "-n", "sleep", "600")
	if err := neighbour.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		neighbour.Process.Kill()
		neighbour.Wait()
		m.nsrun("ps") // no record of a container stays behind
	})
	m.outside = neighbour.Process.Pid
	m.eventually("the neighbour has its own network", func() bool {
		a, err1 := os.Readlink("/proc/thread-self/ns/net")
		b, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", m.outside))
		return err1 == nil && err2 == nil && a != b
	})
	pid := strconv.Itoa(m.outside)
	m.must("ip", "link", "set", "lo", "up")
	m.must("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", pid)
	m.must("ip", "address", "add", machineAddress+"/24", "dev", "eth0")
	m.must("ip", "link", "set", "eth0", "up")
	m.must("nsenter", "-t", pid, "-n", "ip", "address", "add", neighbourAddress+"/24", "dev", "eth0")
	m.must("nsenter", "-t", pid, "-n", "ip", "link", "set", "eth0", "up")
	return m
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "NSRUN_DIR="+m.dir, "PATH="+m.bin+":"+os.Getenv("PATH"))
	return cmd
}

func (m *machine) must(args ...string) string {
	m.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		m.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// nsrun runs it with a time limit and returns what it said and its exit code.
func (m *machine) nsrun(args ...string) (string, int) {
	m.Helper()
	cmd := m.command(append([]string{"timeout", "60", "nsrun"}, args...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// runs runs a script in a container and returns what it prints.
func (m *machine) runs(script string, flags ...string) string {
	m.Helper()
	out, code := m.nsrun(append(append([]string{"run", "--rm", "--rootfs", m.root + ":O"}, flags...), "sh", "-c", script)...)
	if code != 0 {
		m.Fatalf("%s: exit code %d\n%s", script, code, out)
	}
	return out
}

// starts starts a container that goes on until the test ends.
func (m *machine) starts(name, script string, flags ...string) *exec.Cmd {
	m.Helper()
	var said bytes.Buffer
	cmd := m.command(append(append([]string{"nsrun", "run", "--rm", "--name", name, "--rootfs", m.root + ":O"}, flags...), "sh", "-c", script)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	m.Cleanup(func() { cmd.Process.Kill(); <-ended })
	m.eventually(name+" runs", func() bool {
		select {
		case <-ended:
			m.Fatalf("%s ended: %s", name, said.String())
		default:
		}
		out, _ := m.nsrun("ps", "-q", "--filter", "status=running", "--filter", "name=^"+name+"$")
		return out != ""
	})
	return cmd
}

// web serves a page on a port.
func web(port int) string { return fmt.Sprintf("exec httpd -f -p %d -h /", port) }

func (m *machine) eventually(what string, done func() bool) {
	m.Helper()
	for until := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			m.Fatalf("%s: not in time", what)
		}
	}
}

// get asks for the page from the machine itself.
func get(address string) string {
	c, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	text, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// served waits until a page can be had, as a program may take a moment to listen.
func (m *machine) served(address string) {
	m.Helper()
	m.eventually("the page at "+address, func() bool { return strings.Contains(get(address), "hello") })
}

// asked says whether the neighbour gets the page.
func (m *machine) asked(address string) bool {
	out, _ := m.command("nsenter", "-t", strconv.Itoa(m.outside), "-n", "timeout", "2", "busybox", "wget", "-q", "-O", "-", "http://"+address+"/").Output()
	return strings.Contains(string(out), "hello")
}

// state is what must be the same before and after.
func (m *machine) state() string {
	m.Helper()
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		m.Fatal(err)
	}
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		m.Fatal(err)
	}
	return m.must("ip", "-o", "link") + m.must("ip", "-4", "route", "show", "table", "all") + m.must("nft", "list", "ruleset") + "forward " + string(forward) +
		m.must("sh", "-c", fmt.Sprintf("cd %s/network && find . -path './%d*'; cd %s/run && find .", network.RunDir, ns.Ino, m.dir))
}

// clean waits until everything is as it was before.
func (m *machine) clean(before string) {
	m.Helper()
	now := ""
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		m.nsrun("ps")
		if now = m.state(); now == before {
			return
		}
	}
	m.Fatalf("this is left:\n%s\nbefore there was:\n%s", now, before)
}

func testReach(m *machine) {
	m.starts("db", web(80), "--network-alias", "store", "--hostname", "dbhost")
	own := strings.Fields(m.runs("ip -o -4 address show eth0"))[3]
	if again := strings.Fields(m.runs("ip -o -4 address show eth0"))[3]; again == own {
		m.Errorf("two containers, of other names, have %s; that can be, but is not likely", own)
	}
	named := func() string { return m.runs("ip -o -4 address show eth0", "--name", "fixed") }
	if a, b := strings.Fields(named())[3], strings.Fields(named())[3]; a != b {
		m.Errorf("a container that starts again has %s, then %s", a, b)
	}
	out := m.runs("cat /etc/hosts; wget -q -O - http://data/; ping -c 1 -W 2 db; ping -c 1 -W 2 host.docker.internal; ping -c 1 -W 2 192.0.2.2",
		"--link", "db:data", "--cap-add", "NET_RAW", "--hostname", "app", "--network-alias", "also", "--add-host", "gw:host-gateway")
	for _, want := range []string{"data db store\n", "\tapp also\n", "10.86.0.1\thost.containers.internal host.docker.internal gw\n", "hello\n"} {
		if !strings.Contains(out, want) {
			m.Errorf("%q is not in\n%s", want, out)
		}
	}
	if n := strings.Count(out, "1 packets received"); n != 3 {
		m.Errorf("%d of three answered:\n%s", n, out)
	}
	out = m.runs("ip -o -4 address; ip link show eth0; cat /sys/class/net/eth0/address", "--network=bridge:ip=10.86.7.7,mac=02:00:00:00:00:07")
	if !strings.Contains(out, "10.86.7.7/16") || strings.Count(out, "02:00:00:00:00:07") != 2 {
		m.Errorf("asked for 10.86.7.7 and 02:…:07, got %s", out)
	}
	if out := m.runs("ip -o link", "--network=none"); strings.Contains(out, "eth0") {
		m.Errorf("--network=none has %s", out)
	}
	if out := m.runs("ip -o link", "--network=host"); !strings.Contains(out, "nsrun0") {
		m.Errorf("--network=host has %s", out)
	}
}

func testPublish(m *machine) {
	// The hard cases: the machine passes packets on anyway, and doesn't look at
	// those that go straight from one container to the other.
	for file, value := range map[string]string{"ipv4/ip_forward": "1", "bridge/bridge-nf-call-iptables": "0"} {
		if err := os.WriteFile("/proc/sys/net/"+file, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			m.Fatal(err)
		}
	}
	m.runs("true")
	before := m.state()
	// Somebody asks before there is anything: the kernel takes that for a connection
	// to the machine, and would go on to.
	m.starts("hold", "sleep 600")
	early := m.sendsUDP()
	defer early.Close()
	m.starts("web", "httpd -p 81 -h /; udpecho & "+web(80), "-p", "8080:80", "-p", "127.0.0.1:8081:81", "-p", machineAddress+":8082:80", "-p", "5353:53/udp", "-v", m.bin+"/udpecho:/bin/udpecho:ro")
	for _, at := range []string{"127.0.0.1:8080", "127.0.0.1:8081", machineAddress + ":8080", machineAddress + ":8082", "10.86.0.1:8080"} {
		m.served(at)
	}
	for at, want := range map[string]bool{machineAddress + ":8080": true, machineAddress + ":8082": true, machineAddress + ":8081": false} {
		if m.asked(at) != want {
			m.Errorf("the neighbour gets the page at %s: want %v", at, want)
		}
	}
	for _, at := range []string{"127.0.0.1:8082", machineAddress + ":8081"} {
		if page := get(at); !strings.Contains(page, "refused") {
			m.Errorf("at %s there is %s", at, page)
		}
	}
	if out := m.runs("wget -q -O - http://10.86.0.1:8080/; wget -q -O - http://" + machineAddress + ":8082/"); strings.Count(out, "hello") != 2 {
		m.Errorf("another container gets %q by the machine", out)
	}
	m.answersUDP(early)
	late := m.sendsUDP()
	m.answersUDP(late)
	late.Close()
	// What is published on the machine only can't be had by a packet for 127.0.0.1
	// that comes by the cable, nor a container by its own address.
	r := m.record("web")
	for _, args := range []string{
		"sysctl -q -w net.ipv4.conf.all.route_localnet=1", // to hear the answers
		"ip route add 127.0.0.1/32 via " + machineAddress + " src " + neighbourAddress,
		"ip route add 10.86.0.0/16 via " + machineAddress,
	} {
		m.must(append([]string{"nsenter", "-t", strconv.Itoa(m.outside), "-n"}, strings.Fields(args)...)...)
	}
	for _, at := range []string{"127.0.0.1:8081", "127.0.0.1:8080", r.Address.String()} {
		if m.asked(at) {
			m.Errorf("the neighbour gets the page at %s", at)
		}
	}
	out, _ := m.nsrun("port", "web")
	if want := "53/udp -> 0.0.0.0:5353\n80/tcp -> 0.0.0.0:8080\n80/tcp -> " + machineAddress + ":8082\n81/tcp -> 127.0.0.1:8081\n"; out != want {
		m.Errorf("port: %s; want %s", out, want)
	}
	if out, _ := m.nsrun("port", "web", "81"); out != "127.0.0.1:8081\n" {
		m.Errorf("port web 81: %s", out)
	}
	if out, code := m.nsrun("port", "web", "82"); code != 1 || !strings.Contains(out, "port 82 is not published") {
		m.Errorf("port web 82: %d, %s", code, out)
	}
	if out, _ := m.nsrun("ps"); !strings.Contains(out, "0.0.0.0:5353->53/udp, 0.0.0.0:8080->80/tcp, "+machineAddress+":8082->80/tcp, 127.0.0.1:8081->81/tcp") {
		m.Errorf("ps: %s", out)
	}
	out, _ = m.nsrun("inspect", "--format", "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}} {{.NetworkSettings.MacAddress}}", "web")
	if want := r.Address.String() + " 10.86.0.1 " + r.Hardware + "\n"; out != want {
		m.Errorf("inspect: %s; want %s", out, want)
	}
	if out, _ := m.nsrun("inspect", "web"); !strings.Contains(strings.Join(strings.Fields(out), ""), `"81/tcp":[{"HostIp":"127.0.0.1","HostPort":"8081"}]`) {
		m.Errorf("inspect: %s", out)
	}
	m.nsrun("rm", "-f", "web", "hold")
	m.clean(before)
	if page := get("127.0.0.1:8080"); !strings.Contains(page, "refused") {
		m.Errorf("the container is gone, and at its port there is %s", page)
	}
}

// sendsUDP sends a packet to the published UDP port.
func (m *machine) sendsUDP() net.Conn {
	m.Helper()
	c, err := net.Dial("udp", "127.0.0.1:5353")
	if err != nil {
		m.Fatal(err)
	}
	fmt.Fprint(c, "hello?")
	return c
}

// answersUDP wants packets back that are sent from the same place as others were.
func (m *machine) answersUDP(c net.Conn) {
	m.Helper()
	m.eventually("an answer by UDP", func() bool {
		c.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprint(c, "ping")
		answer := make([]byte, 10)
		n, _ := c.Read(answer)
		return string(answer[:n]) == "ping"
	})
}

// record returns what is kept of a container on the bridge.
func (m *machine) record(name string) network.Record {
	m.Helper()
	d, err := network.Open(network.RunDir)
	if err != nil {
		m.Fatal(err)
	}
	all, err := d.Records()
	if err != nil {
		m.Fatal(err)
	}
	i := slices.IndexFunc(all, func(r network.Record) bool { return r.Name == name })
	if i < 0 {
		m.Fatalf("no record of %s in %v", name, all)
	}
	return all[i]
}

func testTaken(m *machine) {
	m.starts("web", web(80), "-p", "8080:80")
	l, err := net.Listen("tcp", "127.0.0.1:9090")
	if err != nil {
		m.Fatal(err)
	}
	defer l.Close()
	for _, row := range []struct{ flag, want string }{
		{"-p=8080:80", "port 8080/tcp of the machine is container web's; choose another, or stop that: nsrun stop web"},
		{"-p=127.0.0.1:8080:80", "is container web's"},
		{"-p=9090:80", fmt.Sprintf("(process %d)'s; choose another", os.Getpid())},
		{"-p=203.0.113.1:80:80", "203.0.113.1 is no address of this machine"},
		{"--ip=" + m.record("web").Address.String(), "is container web's; choose another"},
		{"--ip=10.99.0.1", "none of the bridge's network 10.86.0.0/16"},
	} {
		before := m.state()
		out, code := m.nsrun("run", "--rm", row.flag, "--rootfs", m.root, "true")
		if code != 125 || !strings.Contains(out, row.want) {
			m.Errorf("%s: exit code %d, %s; want 125 and %s", row.flag, code, out, row.want)
		}
		m.eventually("a start that failed leaves nothing", func() bool { return m.state() == before })
	}
	if out, code := m.nsrun("run", "--rm", "-p", "8080:80/udp", "--rootfs", m.root, "true"); code != 0 {
		m.Errorf("the same port of another protocol: %s", out)
	}
}

// testLoopback has a container with all it can have try to reach what listens on
// the machine's 127.0.0.1.
func testLoopback(m *machine) {
	l, err := net.Listen("tcp", "127.0.0.1:7777")
	if err != nil {
		m.Fatal(err)
	}
	defer l.Close()
	var got atomic.Bool
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			got.Store(true)
			c.Close()
		}
	}()
	m.runs("ip address flush dev lo; ip route add 127.0.0.1/32 via 10.86.0.1 dev eth0; echo x | timeout 2 nc -w 1 127.0.0.1 7777; true", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--sysctl", "net.ipv4.conf.all.route_localnet=1")
	if got.Load() {
		m.Error("a container reaches the machine's loopback")
	}
	if page := get("127.0.0.1:7777"); strings.Contains(page, "refused") {
		m.Errorf("nobody listens there, so this proves nothing: %s", page)
	}
}

func testPublishAll(m *machine) {
	m.starts("web", web(80), "-P", "--expose", "80", "--expose", "90-91/udp", "-p", "8091:91/udp")
	out, _ := m.nsrun("port", "web")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "80/tcp -> 0.0.0.0:") || !strings.Contains(out, "91/udp -> 0.0.0.0:8091\n") {
		m.Fatalf("port: %s", out)
	}
	_, at, _ := strings.Cut(lines[0], "-> ")
	m.served(strings.Replace(at, "0.0.0.0", "127.0.0.1", 1))
	m.starts("idle", "sleep 600", "--expose", "70")
	if out, _ := m.nsrun("ps"); !strings.Contains(out, "70/tcp") {
		m.Errorf("ps doesn't show what is exposed only: %s", out)
	}
}

func testContainerNetwork(m *machine) {
	m.starts("web", web(80), "--hostname", "webhost", "-p", "8080:80", "--add-host", "db:10.9.9.9")
	m.served("127.0.0.1:8080")
	out := m.runs("wget -q -O - http://127.0.0.1/; hostname; cat /etc/hosts; ls /sys/class/net; ip link set eth0 down; readlink /proc/self/ns/user; cat /proc/self/uid_map", "--network=container:web")
	for _, want := range []string{"hello\n", "webhost\n", "10.9.9.9\tdb\n", "eth0\n"} {
		if !strings.Contains(out, want) {
			m.Errorf("%q is not in\n%s", want, out)
		}
	}
	// Root in there has no power over that network.
	if !strings.Contains(out, "not permitted") {
		m.Errorf("it could set the other's cable down:\n%s", out)
	}
	m.served("127.0.0.1:8080")
	for _, row := range []struct{ flags, want string }{
		{"--network=container:none", "no such container"},
		{"--network=container:web -p 80:80", "--publish: goes with --network=bridge only"},
		{"--network=container:web --hostname x", "are web's; take --hostname"},
		{"--network=container:web --sysctl net.core.somaxconn=1", "belongs to the other"},
	} {
		out, code := m.nsrun(append(append([]string{"run", "--rm"}, strings.Fields(row.flags)...), "--rootfs", m.root, "true")...)
		if code != 125 || !strings.Contains(out, row.want) {
			m.Errorf("%s: exit code %d, %s; want 125 and %s", row.flags, code, out, row.want)
		}
	}
	if out, code := m.nsrun("run", "--name", "done", "--rootfs", m.root, "true"); code != 0 {
		m.Fatal(out)
	}
	if out, code := m.nsrun("run", "--rm", "--network=container:done", "--rootfs", m.root, "true"); code != 125 || !strings.Contains(out, "container done is not running") {
		m.Errorf("a stopped container's network: %d, %s", code, out)
	}
	m.nsrun("rm", "done")
}

func testFileNetwork(m *machine) {
	file := fmt.Sprintf("/proc/%d/ns/net", m.outside)
	out := m.runs("ip -o -4 address; ls /sys/class/net; cat /proc/self/uid_map", "--network=ns:"+file)
	if !strings.Contains(out, neighbourAddress) || !strings.Contains(out, "eth0\n") {
		m.Errorf("in the neighbour's network there is\n%s", out)
	}
	if strings.Contains(out, "         0          0 4294967295") {
		m.Errorf("the user name-space is gone:\n%s", out)
	}
	for file, want := range map[string]string{"/run/netns/none": "make it: ip netns add NAME", "/etc/passwd": "that is no network name-space", "relative": "write the whole path"} {
		out, code := m.nsrun("run", "--rm", "--network=ns:"+file, "--rootfs", m.root, "true")
		if code != 125 || !strings.Contains(out, want) {
			m.Errorf("ns:%s: exit code %d, %s; want 125 and %s", file, code, out, want)
		}
	}
}

func testForward(m *machine) {
	const forward = "/proc/sys/net/ipv4/ip_forward"
	for _, was := range []string{"0", "1"} {
		if err := os.WriteFile(forward, []byte(was), 0); err != nil {
			m.Fatal(err)
		}
		m.starts("web"+was, "sleep 600")
		if now, _ := os.ReadFile(forward); strings.TrimSpace(string(now)) != "1" {
			m.Errorf("packets are not passed on: %s", now)
		}
		rules := m.must("nft", "list", "chain", "ip", network.Table, "passing")
		if drops := strings.Contains(rules, "\n\t\tdrop\n"); drops != (was == "0") {
			m.Errorf("it was %s before, and others' packets are dropped: %v\n%s", was, drops, rules)
		}
		m.nsrun("rm", "-f", "web"+was)
		m.eventually("packets are passed on as before", func() bool {
			now, _ := os.ReadFile(forward)
			return strings.TrimSpace(string(now)) == was
		})
	}
}

// testKilled kills nsrun and nsrun-network at random moments of a start, then
// starts plainly.
func testKilled(m *machine) {
	m.runs("true") // so that the directories are there
	before := m.state()
	const seed, kills = 4, 40
	rng := rand.New(rand.NewPCG(seed, 0))
	args := []string{"nsrun", "run", "--rm", "--name", "web", "--rootfs", m.root + ":O", "-p", "8080:80", "sh", "-c", web(80)}
	for i := range kills {
		cmd := m.command(args...)
		cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			m.Fatal(err)
		}
		time.Sleep(time.Duration(rng.IntN(25000)) * time.Microsecond)
		if i%2 == 0 {
			unix.Kill(cmd.Process.Pid, unix.SIGKILL)
		} else { // whatever of it there is, as systemd does
			unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		}
		cmd.Wait()
		if out := said.String(); out != "" {
			m.Fatalf("seed %d, kill %d: a start after a kill said %s", seed, i, out)
		}
	}
	m.starts("web", web(80), "-p", "8080:80")
	m.served("127.0.0.1:8080")
	m.nsrun("rm", "-f", "web")
	m.clean(before)
}

// testParallel starts a hundred at once: each gets an address of its own and
// answers.
func testParallel(m *machine) {
	m.runs("true")
	before := m.state()
	const count = 100
	var group sync.WaitGroup
	begun := time.Now()
	cmds := make([]*exec.Cmd, count)
	for i := range cmds {
		cmds[i] = m.command("nsrun", "run", "--rm", "--name", fmt.Sprintf("c%d", i), "--rootfs", m.root+":O", "-p", fmt.Sprintf("%d:80", 10000+i), "sh", "-c", "sleep 600")
		if err := cmds[i].Start(); err != nil { // from this thread, so in its network
			m.Fatal(err)
		}
		group.Go(func() { cmds[i].Wait() })
	}
	m.eventually("a hundred run", func() bool {
		out, _ := m.nsrun("ps", "-q", "--filter", "status=running")
		return strings.Count(out, "\n") == count
	})
	m.Logf("a hundred starts took %v", time.Since(begun))
	d, err := network.Open(network.RunDir)
	if err != nil {
		m.Fatal(err)
	}
	all, err := d.Records()
	if err != nil {
		m.Fatal(err)
	}
	script, seen := "", map[network.Address]string{}
	for _, r := range all {
		if other := seen[r.Address]; other != "" {
			m.Errorf("%s and %s both have %s", r.Name, other, r.Address)
		}
		seen[r.Address] = r.Name
		script += "ping -c 1 -W 2 " + r.Address.String() + " >/dev/null || echo no answer of " + r.Name + "; "
	}
	if len(all) != count {
		m.Errorf("%d records", len(all))
	}
	if out := m.runs(script, "--cap-add", "NET_RAW"); out != "" {
		m.Error(out)
	}
	for _, cmd := range cmds {
		unix.Kill(cmd.Process.Pid, unix.SIGKILL)
	}
	group.Wait()
	m.clean(before)
}

// testUnavailable takes the right to administer the network away, as on a machine
// that is itself in a container.
func testUnavailable(m *machine) {
	run := func(flags ...string) (string, int) {
		args := append([]string{"timeout", "60", "setpriv", "--bounding-set=-net_admin", "nsrun", "run", "--rm", "--rootfs", m.root}, flags...)
		cmd := m.command(append(args, "ip", "-o", "link")...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	m.runs("true")
	before := m.state()
	out, code := run()
	if code != 0 || !strings.Contains(out, "warning: this machine can't have bridge networks") || strings.Contains(out, "eth0") {
		m.Errorf("by default: %d, %s; want a warning, and loopback", code, out)
	}
	out, code = run("--network=bridge")
	if code != 125 || !strings.Contains(out, "this machine can't have bridge networks") || !strings.Contains(out, "operation not permitted") {
		m.Errorf("asked for: %d, %s; want an error", code, out)
	}
	m.clean(before)
}
