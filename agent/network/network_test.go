package network

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit/publish"
)

func TestAddresses(t *testing.T) {
	for text, want := range map[string]bool{"10.0.0.1": true, "255.255.255.255": true, "0.0.0.0": true, "1.2.3": false, "1.2.3.4.5": false, "01.2.3.4": false, "256.1.1.1": false, "": false, "a.b.c.d": false} {
		a, err := ParseAddress(text)
		if (err == nil) != want || err == nil && a.String() != text {
			t.Errorf("%q is %s, %v; want it to be one: %v", text, a, err, want)
		}
	}
	for text, want := range map[string]string{
		"10.86.0.0/16": "", "192.168.7.0/29": "", "10.0.0.0/8": "",
		"10.86.0.1/16": "10.86.0.1/16: write 10.86.0.0/16", "10.0.0.0/30": "10.0.0.0/30: between /8 and /29, please",
		"10.0.0.0": `"10.0.0.0" is no network; write such as 10.86.0.0/16`,
	} {
		if p, err := ParsePrefix(text); err == nil && p.String() != text || fmt.Sprint(err) != cmpOr(want, "<nil>") {
			t.Errorf("%q is %s, %v; want %s", text, p, err, want)
		}
	}
	if got := (Address(10<<24 | 255)).Hardware(); got != "02:6e:0a:00:00:ff" {
		t.Errorf("hardware address %s", got)
	}
	for text, want := range map[string]bool{"02:00:00:00:00:01": true, "01:00:5e:00:00:01": false, "00:00:00:00:00:00": false, "02:0:00:00:00:01": false, "02:00:00:00:00": false} {
		if _, err := ParseHardware(text); (err == nil) != want {
			t.Errorf("%s: %v; want it to be one: %v", text, err, want)
		}
	}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// TestChooseGivesEachItsOwn fills a network in a random order of coming and
// going: nobody gets an address that another has, and all are used.
func TestChooseGivesEachItsOwn(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		p := Prefix{Base: 10<<24 | 7<<8, Bits: 26}
		has := map[Address]string{}
		who := func(a Address) string { return has[a] }
		for i := range 1000 {
			name := fmt.Sprintf("c%d", i)
			a, err := p.Choose(name, 0, who)
			switch {
			case err != nil && len(has) < 61:
				t.Fatalf("seed %d: %v with %d of 61 taken", seed, err, len(has))
			case err != nil && !errors.Is(err, ErrFull):
				t.Fatalf("seed %d: %v", seed, err)
			case err == nil && (has[a] != "" || !p.Contains(a) || a == p.Gateway() || a == p.Base || a == p.last()):
				t.Fatalf("seed %d: %s gets %s, which is %q's", seed, name, a, has[a])
			case err == nil:
				has[a] = name
			}
			for a := range has {
				if rng.IntN(100) == 0 {
					delete(has, a)
				}
			}
		}
	}
	a, err := Subnets()[0].Choose("web", 0, func(Address) string { return "" })
	b, err2 := Subnets()[0].Choose("web", 0, func(a Address) string { return "" })
	if a != b || err != nil || err2 != nil {
		t.Errorf("web gets %s, then %s: %v, %v", a, b, err, err2)
	}
}

func TestChooseWanted(t *testing.T) {
	p, _ := ParsePrefix("10.7.0.0/24")
	who := func(a Address) string {
		if a == p.Base+9 {
			return "db"
		}
		return ""
	}
	for text, want := range map[string]string{
		"10.7.0.8":   "<nil>",
		"10.7.0.9":   "address 10.7.0.9 is container db's; choose another",
		"10.7.0.1":   "address 10.7.0.1 is the bridge's own, or stands for the whole network 10.7.0.0/24; choose another",
		"10.7.0.255": "address 10.7.0.255 is the bridge's own, or stands for the whole network 10.7.0.0/24; choose another",
		"10.8.0.1":   "address 10.8.0.1 is none of the bridge's network 10.7.0.0/24; choose one of those, or set Subnet= in /etc/nsrun/network.conf",
	} {
		a, _ := ParseAddress(text)
		if got, err := p.Choose("web", a, who); fmt.Sprint(err) != want || err == nil && got != a {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"", "0.0.0.0/0 0"},
		{"# nothing\n[Bridge]\nSubnet=10.1.0.0/24\nMTU = 1400\n", "10.1.0.0/24 1400"},
		{"Subnet=10.1.0.0/24", `f:1: "Subnet=10.1.0.0/24": write [Bridge], and settings such as Subnet=10.86.0.0/16 below`},
		{"[Bridge]\nNet=1", "f:2: unknown key Net=; there are Subnet= and MTU="},
		{"[Router]", "f:1: unknown section [Router]; there is [Bridge]"},
		{"[Bridge]\nMTU=9", "f:2: MTU=9: write a number of bytes from 576 to 65535"},
	} {
		c, err := ParseConfig("f", row.text)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(c.Subnet, " ", c.MTU)
		}
		if got != row.want {
			t.Errorf("%q: %s; want %s", row.text, got, row.want)
		}
	}
}

func TestChooseSubnet(t *testing.T) {
	routes := func(list string) (all []Prefix) {
		for _, text := range strings.Fields(list) {
			address, bits, _ := strings.Cut(text, "/")
			a, _ := ParseAddress(address)
			p := Prefix{Base: a}
			fmt.Sscan(bits, &p.Bits)
			all = append(all, p)
		}
		return all
	}
	own, _ := ParsePrefix("10.1.0.0/24")
	for _, row := range []struct {
		routes string
		config Config
		want   string
	}{
		{"0.0.0.0/0 192.168.1.0/24 127.0.0.0/8", Config{}, "10.86.0.0/16"},
		{"10.86.3.0/24", Config{}, "10.186.0.0/16"},
		{"10.0.0.0/8", Config{}, "172.29.0.0/16"},
		{"10.0.0.0/8 172.16.0.0/12", Config{}, "192.168.186.0/24"},
		{"10.0.0.0/8 172.16.0.0/12 192.168.0.0/16", Config{}, ErrNoSubnet.Error()},
		{"10.86.3.0/24", Config{Subnet: own}, "10.1.0.0/24"},
		{"10.1.0.5/32", Config{Subnet: own}, "this machine has a route to 10.1.0.5/32 already; choose another"},
	} {
		p, err := row.config.ChooseSubnet(routes(row.routes))
		if got := fmt.Sprint(p, err); !strings.Contains(got, row.want) {
			t.Errorf("with routes %s: %s; want %s", row.routes, got, row.want)
		}
	}
}

func TestAssign(t *testing.T) {
	for _, row := range []struct{ want, wanted, taken string }{
		{wanted: "8080:80", want: "0.0.0.0:8080->80/tcp"},
		{wanted: "127.0.0.1:53:53/udp 8080:80", want: "127.0.0.1:53->53/udp 0.0.0.0:8080->80/tcp"},
		{wanted: "8000-8002:9000-9002", want: "0.0.0.0:8000->9000/tcp 0.0.0.0:8001->9001/tcp 0.0.0.0:8002->9002/tcp"},
		{wanted: "8000-8001:80", taken: "8000/tcp", want: "0.0.0.0:8001->80/tcp"},
		{wanted: "8000-8001:80", taken: "8000/tcp 8001/tcp", want: "publish 8000-8001:80/tcp: none of the ports is free: 8000 to 8001"},
		{wanted: "80", taken: "100/tcp 101/tcp", want: "0.0.0.0:102->80/tcp"},
		{wanted: "80", taken: "100/tcp 101/tcp 102/tcp", want: "publish 80/tcp: none of the ports is free: 100 to 102"},
		{wanted: "8080:80 8080:80", want: "0.0.0.0:8080->80/tcp"},
		{wanted: "8080:80 8080:81", want: "publish 8080:81/tcp: port 8080/tcp is published twice"},
		{wanted: "8080:80 8080:80/udp", want: "0.0.0.0:8080->80/tcp 0.0.0.0:8080->80/udp"},
		{wanted: "8080:80 127.0.0.1:8080:80", want: "publish 127.0.0.1:8080:80/tcp: port 8080/tcp is published twice"},
		{wanted: "8080:80", taken: "8080/tcp", want: "publish 8080:80/tcp: 8080/tcp is taken"},
		{wanted: "[::1]:80:80", want: "publish [::1]:80:80/tcp: containers on the bridge have IPv4 only; leave the address out, or write one of the machine's IPv4 addresses"},
		{wanted: "80:80/sctp", want: "publish 80:80/sctp: there are tcp and udp on the bridge; for sctp use --network=host"},
		{wanted: "1-5000:1-5000", want: "publish 1-5000:1-5000/tcp: more than 4096 ports are published; with --network=host each is the machine's"},
	} {
		var wanted []publish.Port
		for _, text := range strings.Fields(row.wanted) {
			p, err := publish.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			wanted = append(wanted, p)
		}
		got, err := Assign("web", wanted, 100, 102, func(f Forward) error {
			if text := fmt.Sprintf("%d/%s", f.Port, f.Protocol); slices.Contains(strings.Fields(row.taken), text) {
				return errors.New(text + " is taken")
			}
			return nil
		})
		text := fmt.Sprint(err)
		if err == nil {
			text = strings.Trim(fmt.Sprint(got), "[]")
		}
		if text != row.want {
			t.Errorf("%s with %s taken:\n got %s\nwant %s", row.wanted, row.taken, text, row.want)
		}
	}
}

func TestSummaryAndLookup(t *testing.T) {
	ports := []Forward{
		{0, 8000, "tcp", 80}, {0, 8001, "tcp", 81}, {0, 8002, "tcp", 82}, {127<<24 | 1, 9000, "udp", 90},
	}
	var exposed []publish.Port
	for _, text := range []string{"81/tcp", "443", "443", "90/tcp"} {
		p, err := publish.ParseExpose(text)
		if err != nil {
			t.Fatal(err)
		}
		exposed = append(exposed, p)
	}
	if got, want := Summary(ports, exposed), "0.0.0.0:8000-8002->80-82/tcp, 127.0.0.1:9000->90/udp, 443/tcp, 90/tcp"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for ask, want := range map[string]string{"81": "[0.0.0.0:8001->81/tcp] <nil>", "90/udp": "[127.0.0.1:9000->90/udp] <nil>", "90": "[] <nil>", "x": `[] "x" is no port; write such as 80 or 53/udp`} {
		got, err := Lookup(ports, ask)
		if fmt.Sprint(got, err) != want && fmt.Sprint(got, " ", err) != want {
			t.Errorf("%s: %v %v; want %s", ask, got, err, want)
		}
	}
}

// TestRulesGoByWhoLives: the order of records doesn't count, nor do the dead.
func TestRulesGoByWhoLives(t *testing.T) {
	all := []Record{
		{ID: "a", PID: 1, Address: 10<<24 | 2, Ports: []Forward{{0, 80, "tcp", 8080}}},
		{ID: "b", PID: 2, Address: 10<<24 | 3, Ports: []Forward{{127<<24 | 1, 53, "udp", 5353}, {0, 81, "tcp", 81}}},
		{ID: "c", PID: 3, Address: 10<<24 | 4},
		{ID: "d"},
	}
	live, dead := Split(all, func(pid int, _ uint64) bool { return pid != 1 })
	if len(live) != 2 || len(dead) != 2 {
		t.Fatalf("%d live, %d are dead", len(live), len(dead))
	}
	text := Rules(Subnets()[0], true, live).String()
	slices.Reverse(live)
	if again := Rules(Subnets()[0], true, live).String(); again != text {
		t.Errorf("another order, other rules:\n%s\n%s", text, again)
	}
	for want, there := range map[string]bool{
		"elements = { tcp . 81 : 10.0.0.3 . 81 }":               true,
		"elements = { 127.0.0.1 . udp . 53 : 10.0.0.3 . 5353 }": true,
		"8080": false,
		"\t\tiifname \"nsrun0\" accept\n\t\tdrop\n": true,
		"ip saddr != 10.86.0.0/16 drop":             true,
	} {
		if strings.Contains(text, want) != there {
			t.Errorf("%q in it: want %v:\n%s", want, there, text)
		}
	}
	if text := Rules(Subnets()[0], false, live).String(); strings.Contains(text, "\t\tdrop\n") {
		t.Errorf("others' packets are dropped, though the machine passed them on before:\n%s", text)
	}
}

func TestRecordsOutliveTheirWriter(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	alive := func(pid int, start uint64) bool { return pid == 7 && start == 9 }
	if d.Stale(alive) {
		t.Error("nothing there, and stale")
	}
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	want := Record{ID: "a1", Name: "web", PID: 7, Start: 9, Address: 10<<24 | 2, Hardware: "02:6e:0a:00:00:02", Aliases: []string{"www"}, Ports: []Forward{{0, 80, "tcp", 80}}}
	state := State{Subnet: Subnets()[0], MTU: 1500, Forward: true}
	if err := errors.Join(d.PutState(state), d.Put(want)); err != nil {
		t.Fatal(err)
	}
	if got, there, err := d.State(); got != state || !there || err != nil {
		t.Errorf("state %+v, %v, %v", got, there, err)
	}
	all, err := d.Records()
	if err != nil || len(all) != 1 || fmt.Sprint(all[0]) != fmt.Sprint(want) {
		t.Errorf("records %+v, %v", all, err)
	}
	if got := d.Find("a1"); got == nil || got.Address != want.Address {
		t.Errorf("found %+v", got)
	}
	if d.Find("a2") != nil {
		t.Error("found one that isn't there")
	}
	if d.Stale(alive) || !d.Stale(func(int, uint64) bool { return false }) {
		t.Error("stale is who lives")
	}
	unlock()
	dead := Record{ID: "a2", PID: 8}
	if err := d.Put(dead); err != nil {
		t.Fatal(err)
	}
	if done, err := d.DropSilent(alive); !done || err != nil || d.Find("a2") != nil || d.Find("a1") == nil {
		t.Errorf("a record that no rule goes by: dropped %v, %v", done, err)
	}
	dead.Ports = want.Ports
	if err := d.Put(dead); err != nil {
		t.Fatal(err)
	}
	if done, err := d.DropSilent(alive); done || err != nil || d.Find("a2") == nil {
		t.Errorf("a record that rules go by: dropped %v, %v", done, err)
	}
	if err := d.Drop("a2"); err != nil {
		t.Fatal(err)
	}
	if done, err := d.DropSilent(func(int, uint64) bool { return false }); done || err != nil || d.Find("a1") == nil {
		t.Errorf("the last record: dropped %v, %v", done, err)
	}
	if err := d.Drop("a1"); err != nil || !d.Stale(alive) {
		t.Errorf("the state alone is no work to do: %v", err)
	}
	if err := d.Clear(); err != nil || d.Stale(alive) {
		t.Errorf("cleared, and stale: %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("[Bridge]\nSubnet=10.1.0.0/24\nMTU=1400\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig("f", text)
		if err == nil && c.Subnet != (Prefix{}) {
			if p, err := ParsePrefix(c.Subnet.String()); err != nil || p != c.Subnet {
				t.Fatalf("%v: %v", c, err)
			}
		}
	})
}
