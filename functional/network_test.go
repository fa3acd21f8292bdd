package functional

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/functional/lab"
)

// publishing is a unit as people write it for docker, with a published port. The
// lines in front are what the agent's drop-in adds.
const publishing = `[Service]
Type=notify
NotifyAccess=main
ExecStopPost=-/usr/bin/nsrun cleanup --unit %n
ExecStartPre=-/usr/bin/docker kill web
ExecStartPre=-/usr/bin/docker rm web
ExecStartPre=/usr/bin/docker pull busybox
ExecStart=/usr/bin/docker run --rm --name web -p 8080:80 -p 127.0.0.1:8081:80 busybox sh -c "echo hello >/index.html; exec httpd -f -p 80 -h /"
ExecStop=/usr/bin/docker stop web
Restart=on-failure
RestartSec=100ms
`

// TestB04_PublishedPort: a published port is to be had on the machine, from
// another one and from other containers, after restarts and kills as well; when
// the unit is stopped nothing is left.
func TestB04_PublishedPort(t *testing.T) {
	c := ownCluster(t, lab.Options{Name: "network", Machines: 2, Bare: true})
	const asks = "wget -q -T 2 -t 1 -O - http://%s/ || echo nothing"
	ask := func(machine, at string) string { return c.must(machine, "sh", "-c", fmt.Sprintf(asks, at)) }
	address := strings.Fields(c.must("m1", "hostname", "-I"))[0]
	c.must("m1", "nsrun", "pull", "-q", "busybox")
	c.must("m1", "nsrun", "run", "--rm", "busybox", "true") // the directories are there from then on
	before := c.network("m1")
	c.must("m1", "sh", "-c", "cat > /run/systemd/system/web.service <<'END'\n"+publishing+"END\nsystemctl start web.service")
	c.handedOver("m1", "web.service")
	served := func(when string) {
		t.Helper()
		for _, at := range []string{"127.0.0.1:8080", "127.0.0.1:8081", address + ":8080"} {
			c.eventually(when+": the page at "+at, soon, func() (string, bool) { seen := ask("m1", at); return seen, seen == "hello" })
		}
		for at, want := range map[string]string{address + ":8080": "hello", address + ":8081": "nothing"} {
			if seen := ask("m2", at); seen != want {
				t.Errorf("%s: another machine asks %s and gets %q, want %q", when, at, seen, want)
			}
		}
		if seen := c.must("m1", "nsrun", "run", "--rm", "busybox", "wget", "-q", "-O", "-", "http://"+address+":8080/"); seen != "hello" {
			t.Errorf("%s: another container gets %q", when, seen)
		}
	}
	served("started")
	if out := c.must("m1", "nsrun", "port", "web"); out != "80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8081" {
		t.Errorf("port: %s", out)
	}
	c.must("m1", "systemctl", "restart", "web.service")
	served("restarted")
	for range 3 {
		c.must("m1", "systemctl", "kill", "-s", "KILL", "web.service")
		c.eventually("systemd starts it again", soon, func() (string, bool) {
			p := c.show("m1", "web.service", "ActiveState", "SubState")
			seen, code := c.on("m1", "nsrun", "ps", "-q")
			return fmt.Sprint(p, seen), p["ActiveState"] == "active" && code == 0 && seen != ""
		})
	}
	served("killed and started again")
	c.must("m1", "systemctl", "stop", "web.service")
	c.eventually("nothing is left", soon, func() (string, bool) {
		now := c.network("m1")
		return now + "\nbefore there was\n" + before, now == before
	})
	for _, machine := range []string{"m1", "m2"} {
		if seen := ask(machine, address+":8080"); seen != "nothing" {
			t.Errorf("%s gets %q when the unit is stopped", machine, seen)
		}
	}
}

// network is what a machine has of links, rules, and records of containers.
func (c *cluster) network(machine string) string {
	c.Helper()
	return c.must(machine, "sh", "-c", "ip -o link; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward; find /run/nsrun; ls /var/lib/nsrun/containers")
}
