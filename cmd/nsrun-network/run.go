package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/clusterd/clusterd/agent/network"
	"github.com/clusterd/clusterd/agent/network/bridge"
	"github.com/clusterd/clusterd/agent/runtime"
	"github.com/clusterd/clusterd/unit/publish"
)

const help = `nsrun-network connects containers to a bridge of this machine. nsrun calls it.

  nsrun-network up --run DIR --id ID --name NAME --pid PID --start TICKS [--ip ADDRESS]
      [--mac ADDRESS] [--alias NAME]… [--publish PORT]…
          connect the network name-space on descriptor 3; print the container's
          address and the bridge's
  nsrun-network reconcile --run DIR
          remove what is left of containers that have ended; when none lives,
          the bridge and its rules, too
  nsrun-network rules --run DIR
          print the rules for the containers that live, as nft would
  nsrun-network check
          say whether this machine can have a bridge, by making one that nobody sees
  nsrun-network version

DIR is nsrun's own (/run/nsrun). The bridge is set up as --config says
(` + network.ConfigFile + `): Subnet= and MTU= below [Bridge].

Exit codes: 0 done, 1 failed, 69 this machine can't have bridges, 125 wrong flag.

  nsrun-network reconcile --run /run/nsrun
`

// Exit codes.
const (
	exitFailed      = 1
	exitUnavailable = runtime.ExitNoNetwork
	exitUsage       = 125
)

type options struct {
	run, config string
	wish        bridge.Wish
}

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"help"}
	}
	verb := args[0]
	switch verb {
	case "help", "--help", "-h":
		fmt.Fprint(stdout, help)
		return 0
	case "check":
		err := bridge.Check()
		if err == nil {
			return 0
		}
		fmt.Fprintf(stderr, "nsrun-network: check: %v\n", err)
		return exitUnavailable
	case "version", "--version":
		fmt.Fprintln(stdout, "nsrun-network", version)
		return 0
	}
	o, err := parse(args[1:])
	if err == nil {
		err = o.do(verb, stdout)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "nsrun-network: %s: %v\n", verb, err)
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, bridge.ErrUnavailable):
		return exitUnavailable
	}
	return exitFailed
}

var errUsage = errors.New("see nsrun-network help")

func parse(args []string) (o *options, err error) {
	const descriptor = 3
	o = &options{wish: bridge.Wish{Netns: descriptor}}
	set := flag.NewFlagSet("nsrun-network", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&o.run, "run", "", "")
	set.StringVar(&o.config, "config", network.ConfigFile, "")
	set.StringVar(&o.wish.ID, "id", "", "")
	set.StringVar(&o.wish.Name, "name", "", "")
	set.IntVar(&o.wish.PID, "pid", 0, "")
	set.Uint64Var(&o.wish.Start, "start", 0, "")
	set.Func("ip", "", func(v string) (err error) { o.wish.Address, err = network.ParseAddress(v); return err })
	set.Func("mac", "", func(v string) error { o.wish.Hardware = v; _, err := network.ParseHardware(v); return err })
	set.Func("alias", "", func(v string) error { o.wish.Aliases = append(o.wish.Aliases, v); return nil })
	set.Func("publish", "", func(v string) error {
		p, err := publish.Parse(v)
		o.wish.Publish = append(o.wish.Publish, p)
		return err
	})
	if err := set.Parse(args); err != nil {
		return nil, fmt.Errorf("%w; %w", err, errUsage)
	}
	if o.run == "" || set.NArg() > 0 {
		return nil, fmt.Errorf("write --run DIR, and flags only: %w", errUsage)
	}
	return o, nil
}

func (o *options) do(verb string, stdout io.Writer) error {
	d, err := network.Open(o.run)
	if err != nil {
		return err
	}
	switch verb {
	case "up":
		return o.up(d, stdout)
	case "reconcile":
		return bridge.Reconcile(d, runtime.Alive)
	case "rules":
		return o.rules(d, stdout)
	}
	return fmt.Errorf("no such verb; %w", errUsage)
}

func (o *options) up(d *network.Dir, stdout io.Writer) error {
	w := o.wish
	// The id names files.
	if w.ID == "" || strings.Trim(w.ID, "0123456789abcdef") != "" || !runtime.ValidName(w.Name) || w.PID <= 0 {
		return fmt.Errorf("write --id, --name, --pid and --start: %w", errUsage)
	}
	config, err := network.LoadConfig(o.config)
	if err != nil {
		return err
	}
	r, s, err := bridge.Up(d, config, w, runtime.Alive)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, r.Address, s.Subnet.Gateway())
	return nil
}

func (o *options) rules(d *network.Dir, stdout io.Writer) error {
	all, err := d.Records()
	if err != nil {
		return err
	}
	s, there, err := d.State()
	if err != nil || !there {
		return err
	}
	live, _ := network.Split(all, runtime.Alive)
	fmt.Fprint(stdout, network.Rules(s.Subnet, s.Forward, live))
	return nil
}
