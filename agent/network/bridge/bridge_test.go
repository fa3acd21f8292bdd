package bridge

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/network"
)

// ownNetwork gives the test a network name-space of its own, which its thread
// keeps until both end.
func ownNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make networks: run them as root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

func nft(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v\n%s%s", strings.Join(args, " "), err, out, stdin)
	}
	return string(out)
}

func someRules(dropOthers bool) network.Ruleset {
	return network.Rules(network.Subnets()[0], dropOthers, []network.Record{
		{ID: "a", Address: 10<<24 | 86<<16 | 2, Ports: []network.Forward{{Port: 8080, Protocol: "tcp", Inside: 80}, {Port: 53, Protocol: "udp", Inside: 5353}}},
		{ID: "b", Address: 10<<24 | 86<<16 | 3, Ports: []network.Forward{{Address: 127<<24 | 1, Port: 8081, Protocol: "tcp", Inside: 80}}},
	})
}

var sealChain = regexp.MustCompile(`(?s)\n\tchain seal-[0-9a-f]{16} \{\n\t\}\n`)

// TestRulesAreWhatIsWritten: what goes into the kernel by netlink is what nft(8)
// makes of the ruleset as it is written.
func TestRulesAreWhatIsWritten(t *testing.T) {
	for _, drop := range []bool{true, false} {
		t.Run("", func(t *testing.T) {
			ownNetwork(t)
			r := someRules(drop)
			nft(t, r.String(), "-f", "-")
			want := nft(t, "", "list", "ruleset")
			nft(t, "", "flush", "ruleset")
			if err := apply(r); err != nil {
				t.Fatal(err)
			}
			got := nft(t, "", "list", "ruleset")
			if !sealChain.MatchString(got) {
				t.Errorf("no seal in\n%s", got)
			}
			if got = sealChain.ReplaceAllString(got, ""); strings.ReplaceAll(got, "\n", "") != strings.ReplaceAll(want, "\n", "") {
				t.Errorf("in the kernel there is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestApplyOnlyWhenNeeded: the table that is there already stays, one that was
// flushed or changed is made anew.
func TestApplyOnlyWhenNeeded(t *testing.T) {
	ownNetwork(t)
	handles := func() string { return nft(t, "", "-a", "list", "ruleset") }
	if err := apply(someRules(true)); err != nil {
		t.Fatal(err)
	}
	first := handles()
	if err := apply(someRules(true)); err != nil || handles() != first {
		t.Errorf("the same rules were made anew: %v", err)
	}
	nft(t, "", "flush", "ruleset")
	if err := apply(someRules(true)); err != nil || handles() == "" {
		t.Errorf("a flushed table stays so: %v", err)
	}
	if err := apply(someRules(false)); err != nil || handles() == first {
		t.Errorf("other rules: %v", err)
	}
	for range 2 {
		if err := remove(); err != nil || handles() != "" {
			t.Errorf("removed: %v, %s", err, handles())
		}
	}
}

// TestManyPorts: a message to the kernel has an end.
func TestManyPorts(t *testing.T) {
	ownNetwork(t)
	c := network.Record{ID: "a", Address: 10<<24 | 86<<16 | 2}
	for port := range uint16(4096) {
		c.Ports = append(c.Ports, network.Forward{Port: 10000 + port, Protocol: "tcp", Inside: port + 1})
	}
	if err := apply(network.Rules(network.Subnets()[0], true, []network.Record{c})); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(nft(t, "", "list", "map", "ip", network.Table, "ports"), "tcp . "); n != len(c.Ports) {
		t.Errorf("%d of %d ports", n, len(c.Ports))
	}
}

func TestCheck(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a network: run it as root")
	}
	if err := Check(); err != nil {
		t.Error(err)
	}
}

// TestAnotherLinkOfTheName isn't taken for the bridge, nor removed.
func TestAnotherLinkOfTheName(t *testing.T) {
	ownNetwork(t)
	if out, err := exec.Command("ip", "link", "add", network.Bridge, "type", "veth", "peer", "name", "other").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	err = k.makeBridge(network.State{Subnet: network.Subnets()[0], MTU: 1500})
	if err == nil || !strings.Contains(err.Error(), "there is a link of that name, a veth") || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if err := k.dismantle(network.State{}, nil); err != nil {
		t.Error(err)
	}
	if _, err := k.links.LinkByName(network.Bridge); err != nil {
		t.Errorf("it is removed: %v", err)
	}
}
