package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/network"
	"github.com/clusterd/clusterd/agent/runtime"
	"github.com/clusterd/clusterd/unit/publish"
)

// networkOptions are the flags about the network beside --network itself.
type networkOptions struct {
	publish    []string
	publishAll bool
	expose     []string
	links      []string
}

func networkFlags(o *runOptions) []flag {
	s, n := &o.spec, &o.networking
	return []flag{
		{long: "network", text: o.setNetwork, arg: "NETWORK", about: "bridge[:ip=…,mac=…,alias=…] (default for root where it can be had), none: loopback only, host: the machine's, container:NAME: another's, ns:PATH"},
		{long: "net", text: o.setNetwork},
		{long: "publish", short: 'p', text: list(&n.publish), arg: "[[IP:]PORT:]PORT", about: "have a port of the container on the machine; rows 80-90, /udp; no PORT of the machine's: a free one"},
		{long: "publish-all", short: 'P', set: boolean(&n.publishAll), about: "publish each port that the image or --expose names, as a free one"},
		{long: "expose", text: list(&n.expose), arg: "PORT[/udp]", about: "note that it listens there; see -P and ps"},
		{long: "ip", text: text(&s.Bridge.Address), arg: "ADDRESS", about: "its address on the bridge"},
		{long: "mac-address", text: text(&s.Bridge.Hardware), arg: "ADDRESS", about: "its hardware address on the bridge"},
		{long: "network-alias", text: list(&s.Bridge.Aliases), arg: "NAME", about: "one more name for itself, and for who links to it"},
		{long: "net-alias", text: list(&s.Bridge.Aliases)},
		{long: "link", text: list(&n.links), arg: "NAME[:ALIAS]", about: "that container's address of now as a line of /etc/hosts"},
		{long: "add-host", text: list(&o.hosts), arg: "NAME:ADDRESS", about: "a line for /etc/hosts; host-gateway stands for the machine's address"},
	}
}

// setNetwork reads --network, whose bridge can have options as podman's.
func (o *runOptions) setNetwork(v string) error {
	b := &o.spec.Bridge
	name, options, given := strings.Cut(v, ":")
	if v = name; name != runtime.NetworkBridge || !given {
		if given {
			v += ":" + options
		}
		o.spec.Network = v
		return nil
	}
	o.spec.Network = runtime.NetworkBridge
	for _, option := range strings.Split(options, ",") {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "ip":
			b.Address = value
		case "mac":
			b.Hardware = value
		case "alias":
			b.Aliases = append(b.Aliases, value)
		default:
			return fmt.Errorf("option %s: there are ip=, mac= and alias=", option)
		}
	}
	return nil
}

// chooseNetwork takes the default where none was named: the bridge for root, if
// the program for that is here; if it isn't, there is a warning. A flag that only
// the bridge has asks for it.
func (a *app) chooseNetwork(o *runOptions) {
	s := &o.spec
	if s.Network != "" {
		return
	}
	b, n := s.Bridge, o.networking
	asked := b.Address != "" || b.Hardware != "" || len(b.Aliases) > 0 || len(n.publish) > 0 || n.publishAll || len(n.links) > 0
	s.Network = runtime.NetworkNone
	switch {
	case asked:
		s.Network = runtime.NetworkBridge
	case runtime.Root():
		if _, err := sibling(networkProgram); err != nil {
			fmt.Fprintf(a.stderr, "%s: run %s: warning: %v; so it has loopback only; write --network=none if that is meant\n", a.name, s.Name, err)
			return
		}
		s.Network, s.Bridge.Default = runtime.NetworkBridge, true
	}
}

// networks says which there are on this machine, for info; the first is the default.
func (a *app) networks(host runtime.Host) string {
	if !host.Root {
		return "none (default: loopback only), host; others need root"
	}
	others := "host, container:NAME, ns:PATH"
	program, err := sibling(networkProgram)
	if err == nil {
		var said []byte
		if said, err = exec.Command(program, "check").CombinedOutput(); err == nil {
			return "bridge (default), none, " + others
		}
		err = errors.New(strings.TrimPrefix(strings.TrimSpace(string(said)), networkProgram+": check: "))
	}
	return fmt.Sprintf("none (default: loopback only), %s; no bridge: %v", others, err)
}

// checkNetwork refuses flags that can't go together, or whose values can't be.
func (o *runOptions) checkNetwork() error {
	s, n := &o.spec, &o.networking
	b := s.Bridge
	onBridge := s.Network == "" || s.Network == runtime.NetworkBridge
	for _, flag := range []struct {
		given bool
		name  string
	}{
		{b.Address != "", "ip"}, {b.Hardware != "", "mac-address"}, {len(b.Aliases) > 0, "network-alias"},
		{len(n.links) > 0, "link"}, {n.publishAll && s.Network != runtime.NetworkHost, "publish-all"},
		{len(n.publish) > 0 && s.Network != runtime.NetworkHost, "publish"},
	} {
		if flag.given && !onBridge {
			return usageError{fmt.Errorf("--%s: goes with --network=bridge only; take one of the two out", flag.name)}
		}
	}
	if other, joined := strings.CutPrefix(s.Network, "container:"); joined {
		named := s.Hostname != "" || len(o.hosts) > 0 || len(s.Names.Servers)+len(s.Names.Search)+len(s.Names.Options) > 0
		switch {
		case other == "":
			return usageError{errors.New("--network=container: which one? write container:NAME")}
		case named || len(n.expose) > 0:
			return usageError{fmt.Errorf("--network=%s: host name, names and ports are %s's; take --hostname, --add-host, --dns and --expose out, and say them there", s.Network, other)}
		}
	}
	if _, err := network.ParseAddress(b.Address); b.Address != "" && err != nil {
		return usageError{fmt.Errorf("--ip: %w", err)}
	}
	if _, err := network.ParseHardware(b.Hardware); b.Hardware != "" && err != nil {
		return usageError{fmt.Errorf("--mac-address: %w", err)}
	}
	return o.checkPorts()
}

func (o *runOptions) checkPorts() error {
	var wanted []publish.Port
	for _, arg := range o.networking.publish {
		p, err := publish.Parse(arg)
		if err != nil {
			return usageError{fmt.Errorf("--publish=%s: %w", arg, err)}
		}
		wanted = append(wanted, p)
	}
	if o.spec.Network != runtime.NetworkHost {
		if _, err := network.Assign("", wanted, 1, 65535, func(network.Forward) error { return nil }); err != nil {
			return usageError{err}
		}
	}
	for _, arg := range o.networking.expose {
		if _, err := publish.ParseExpose(arg); err != nil {
			return usageError{fmt.Errorf("--expose=%s: %w", arg, err)}
		}
	}
	return nil
}

// ports notes what is exposed, and turns what is to be published into the words
// of the plan.
func (o *runOptions) ports(config image.Config) error {
	s, n := &o.spec, &o.networking
	var exposed []publish.Port
	for _, text := range append(slices.Sorted(maps.Keys(config.ExposedPorts)), n.expose...) {
		p, err := publish.ParseExpose(text)
		if err != nil {
			continue // the image's own affair; the flags' were checked
		}
		exposed = append(exposed, p)
		if text := p.String(); !slices.Contains(s.Expose, text) {
			s.Expose = append(s.Expose, text)
		}
	}
	if s.Network != runtime.NetworkBridge {
		return nil
	}
	var wanted []publish.Port
	for _, arg := range n.publish {
		p, err := publish.Parse(arg)
		if err != nil {
			return usageError{fmt.Errorf("--publish=%s: %w", arg, err)}
		}
		wanted = append(wanted, p)
	}
	covered := func(e publish.Port) bool {
		return slices.ContainsFunc(wanted, func(p publish.Port) bool {
			return p.Protocol == e.Protocol && p.Inside <= e.Inside && e.InsideLast <= p.InsideLast
		})
	}
	for _, e := range exposed {
		if n.publishAll && !covered(e) {
			wanted = append(wanted, e)
		}
	}
	for _, p := range wanted {
		s.Bridge.Publish = append(s.Bridge.Publish, p.String())
	}
	return nil
}

// links turns --link into lines of /etc/hosts.
func (a *app) links(o *runOptions) error {
	if len(o.networking.links) == 0 {
		return nil
	}
	d, err := network.Open(network.RunDir)
	if err != nil {
		return err
	}
	for _, arg := range o.networking.links {
		name, alias, _ := strings.Cut(arg, ":")
		c, err := a.dir.Get(name)
		if err != nil {
			return fmt.Errorf("--link=%s: %w", arg, err)
		}
		r := d.Find(c.ID)
		switch {
		case !c.Running():
			return fmt.Errorf("--link=%s: %s is not running; start it first", arg, c.Name)
		case r == nil:
			return fmt.Errorf("--link=%s: %s is not on the bridge; give it --network=bridge", arg, c.Name)
		case alias != "" && !runtime.OneWord(alias):
			return usageError{fmt.Errorf("--link=%s: %q is no host name", arg, alias)}
		}
		names := slices.DeleteFunc(append([]string{alias, c.Name}, r.Aliases...), func(s string) bool { return s == "" })
		o.spec.Names.Hosts = append(o.spec.Names.Hosts, r.Address.String()+"\t"+strings.Join(slices.Compact(names), " "))
		fmt.Fprintf(a.stderr, "%s: run: warning: --link=%s: /etc/hosts has the address that %s has now; docker's variables are not set\n", a.name, arg, c.Name)
	}
	return nil
}

// networkProgram connects containers to the bridge.
const networkProgram = "nsrun-network"

// connector has nsrun-network do it.
type connector struct{}

// Connect is runtime.Network's.
func (connector) Connect(s runtime.Spec, pid int, start uint64, netns int) (func() (own, gateway string, err error), error) {
	ns := os.NewFile(uintptr(netns), "network name-space")
	defer ns.Close()
	program, err := sibling(networkProgram)
	if err != nil {
		return nil, err
	}
	args := []string{"up", "--run", network.RunDir, "--id", s.ID, "--name", s.Name, "--pid", strconv.Itoa(pid), "--start", strconv.FormatUint(start, 10)}
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				args = append(args, flag+"="+v)
			}
		}
	}
	add("--ip", s.Bridge.Address)
	add("--mac", s.Bridge.Hardware)
	add("--alias", s.Bridge.Aliases...)
	add("--publish", s.Bridge.Publish...)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &stdout, &stderr, []*os.File{ns}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("connect it to the bridge: %w", err)
	}
	return func() (own, gateway string, err error) {
		err = cmd.Wait()
		said := strings.TrimPrefix(strings.TrimSpace(stderr.String()), networkProgram+": up: ")
		var exit *exec.ExitError
		switch words := strings.Fields(stdout.String()); {
		case errors.As(err, &exit) && exit.ExitCode() == runtime.ExitNoNetwork:
			return "", "", fmt.Errorf("%w: %s", runtime.ErrNoBridge, said)
		case err != nil && said != "":
			return "", "", fmt.Errorf("connect it to the bridge: %s", said)
		case err != nil:
			return "", "", fmt.Errorf("connect it to the bridge: %s: %w", networkProgram, err)
		case len(words) != 2:
			return "", "", fmt.Errorf("connect it to the bridge: %s said %q, not two addresses", networkProgram, stdout.String())
		default:
			return words[0], words[1], nil
		}
	}, nil
}

// tidyNetwork removes what is left on the bridge of containers that have ended.
func (a *app) tidyNetwork() {
	if os.Geteuid() != 0 {
		return
	}
	d, err := network.Open(network.RunDir)
	if err != nil || !d.Stale(runtime.Alive) {
		return
	}
	done, err := d.DropSilent(runtime.Alive)
	if done {
		return
	}
	program, e := sibling(networkProgram)
	if err = errors.Join(err, e); err == nil {
		tidy := exec.Command(program, "reconcile", "--run", network.RunDir)
		tidy.Stderr = a.stderr
		err = tidy.Run()
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "%s: tidy the bridge: %v\n", a.name, err)
	}
}

// onBridge returns what a container that runs has on the bridge; nothing, if it
// isn't there.
func onBridge(c *runtime.Container) (r network.Record, gateway string) {
	if c.Network != runtime.NetworkBridge || !c.Running() {
		return r, ""
	}
	d, err := network.Open(network.RunDir)
	if err != nil {
		return r, ""
	}
	if found := d.Find(c.ID); found != nil {
		r = *found
	}
	if s, there, err := d.State(); there && err == nil {
		gateway = s.Subnet.Gateway().String()
	}
	return r, gateway
}

// networkSettings is that part of what inspect shows.
func networkSettings(c *runtime.Container) object {
	r, gateway := onBridge(c)
	address := ""
	if r.ID != "" {
		address = r.Address.String()
	}
	ports := object{}
	for i := 0; i < len(r.Ports); {
		var bindings []object
		key := fmt.Sprintf("%d/%s", r.Ports[i].Inside, r.Ports[i].Protocol)
		for ; i < len(r.Ports) && fmt.Sprintf("%d/%s", r.Ports[i].Inside, r.Ports[i].Protocol) == key; i++ {
			bindings = append(bindings, object{{"HostIp", r.Ports[i].Address.String()}, {"HostPort", strconv.Itoa(int(r.Ports[i].Port))}})
		}
		ports = append(ports, object{{key, bindings}}...)
	}
	return object{
		{"IPAddress", address},
		{"Gateway", gateway},
		{"MacAddress", r.Hardware},
		{"Ports", ports},
		{"Networks", object{{c.Network, object{{"IPAddress", address}, {"Gateway", gateway}, {"MacAddress", r.Hardware}, {"Aliases", r.Aliases}}}}},
	}
}

// ports is what ps shows of a container.
func ports(c *runtime.Container) string {
	if !c.Running() || c.Network == runtime.NetworkHost {
		return ""
	}
	r, _ := onBridge(c)
	var exposed []publish.Port
	for _, text := range c.Expose {
		if p, err := publish.ParseExpose(text); err == nil {
			exposed = append(exposed, p)
		}
	}
	return network.Summary(r.Ports, exposed)
}

// port is docker's: where ports of a container are to be had on the machine.
func (a *app) port(args []string) error {
	rest, err := parse(nil, args, true)
	if err != nil {
		return err
	}
	if len(rest) < 1 || len(rest) > 2 {
		return usageError{errors.New("which container? write port NAME, or port NAME PORT[/PROTOCOL]")}
	}
	c, err := a.dir.Get(rest[0])
	if err != nil {
		return err
	}
	r, _ := onBridge(c)
	all := r.Ports
	if len(rest) == 1 {
		for _, f := range all {
			fmt.Fprintf(a.stdout, "%d/%s -> %s:%d\n", f.Inside, f.Protocol, f.Address, f.Port)
		}
		return nil
	}
	found, err := network.Lookup(all, rest[1])
	if err != nil {
		return usageError{err}
	}
	if len(found) == 0 {
		return fmt.Errorf("%s: port %s is not published", c.Name, rest[1])
	}
	for _, f := range found {
		fmt.Fprintf(a.stdout, "%s:%d\n", f.Address, f.Port)
	}
	return nil
}
