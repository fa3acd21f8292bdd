package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/mem"
	"github.com/clusterd/clusterd/unit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"clusterctl": main})
}

// TestScripts runs each script against an API of its own over a registry in
// memory. There is no engine and no machine: scripts say themselves what those
// would write.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			c, err := newCluster()
			if err != nil {
				return err
			}
			env.Defer(c.stop)
			env.Values["cluster"] = c
			env.Setenv("SOCKET", c.socket)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", "")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command takes a second with -race
			env.Setenv("CLUSTERCTL_ENDPOINT", "unix://"+c.socket)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"place":    assign,
			"report":   report,
			"pending":  pend,
			"forget":   forget,
			"breakoff": breakoff,
			"notice":   notice,
		},
	})
}

// exits CODE COMMAND ARGS... runs a command that must exit with CODE.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s exited with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// cluster is a registry in memory with the API over it.
type cluster struct {
	dir, socket string
	store       *mem.Store
	notice      atomic.Value // a string: what operators are to know
	stop        func()
}

func newCluster() (*cluster, error) {
	dir, err := os.MkdirTemp("", "clusterctl") // a socket's path must be short
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, socket: filepath.Join(dir, "s"), store: mem.New(mem.Options{})}
	log := slog.New(slog.DiscardHandler)
	mirror := registry.NewCopy(c.store, api.CopyRanges(), log)
	server, err := api.NewServer(api.Config{Version: "test", Cluster: "test", Machine: m1, Log: log, Local: local{}})
	if err != nil {
		return nil, err
	}
	if err := server.SetControl(&api.Control{Store: c.store, Copy: mirror, Notice: func() string { s, _ := c.notice.Load().(string); return s }}); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = mirror.Run(ctx) })
	running.Go(func() { _ = server.ServeUnix(ctx, listener) })
	c.stop = func() {
		cancel()
		running.Wait()
		os.RemoveAll(dir)
	}
	for i, m := range []registry.MachineID{m1, m2} {
		address := "10.0.0." + strconv.Itoa(i+1)
		c.put(registry.MachineKey(m), registry.Encode(&registry.Machine{Version: 1, Hostname: "m" + strconv.Itoa(i+1), Address: address, Metadata: map[string]string{"region": "eu", "disk": "ssd"}}))
		c.put(registry.AliveKey(m), registry.Encode(&registry.Alive{Version: 1, Incarnation: "boot"}))
	}
	return c, nil
}

// local is a machine's systemd in a few words.
type local struct{}

func (local) Journal(ctx context.Context, name unit.Name, o api.JournalOptions, w io.Writer) error {
	fmt.Fprintf(w, "journal of %s, lines %d, output %s\n", name, o.Lines, o.Output)
	if o.Follow {
		<-ctx.Done()
	}
	return nil
}

func (local) Status(_ context.Context, name unit.Name, w io.Writer) (int, error) {
	fmt.Fprintf(w, "● %s\n     Loaded: loaded\n", name)
	if name == "dead.service" {
		return 3, nil
	}
	return 0, nil
}

// Verify complains of the third line when it is the one too many for this systemd.
func (local) Verify(_ context.Context, r api.VerifyRequest, w io.Writer) (int, error) {
	exit := 0
	for _, file := range r.Files {
		if strings.Contains(string(file.File), "TooNew") {
			fmt.Fprintf(w, "warning: %s: Command /bin/x is not executable\n%s:3: Unknown key 'TooNew', ignoring.\n", file.Name, file.Name)
			exit = 1
		}
	}
	return exit, nil
}

func (c *cluster) put(key string, value []byte) {
	if _, err := c.store.Commit(context.Background(), nil, []registry.Op{{Key: key, Value: value}}); err != nil {
		panic(err)
	}
}

func (c *cluster) drop(ranges ...registry.Range) {
	for _, r := range ranges {
		if _, err := c.store.Commit(context.Background(), nil, []registry.Op{{Delete: r}}); err != nil {
			panic(err)
		}
	}
}

// unit waits until the unit's record is there with the target, so that
// scripts can run a command in the background.
func (c *cluster) unit(ts *testscript.TestScript, name unit.Name, target registry.Target) *registry.Unit {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var last any = "nothing"
	for {
		snapshot, err := c.store.Range(ctx, registry.Single(registry.UnitKey(name)))
		ts.Check(err)
		if len(snapshot.Records) == 1 {
			u, err := registry.Decode[registry.Unit](snapshot.Records[0])
			ts.Check(err)
			if u.GetTarget() == target {
				return u
			}
			last = u
		}
		watching, stop := context.WithCancel(ctx)
		if _, ok := <-c.store.Watch(watching, registry.Single(registry.UnitKey(name)), snapshot.Revision); !ok || ctx.Err() != nil {
			stop()
			ts.Fatalf("%s did not become %s; last seen: %v", name, target, last)
		}
		stop()
	}
}

// notice TEXT has control machines tell operators something.
func notice(ts *testscript.TestScript, _ bool, args []string) {
	clusterOf(ts).notice.Store(strings.Join(args, " "))
}

func clusterOf(ts *testscript.TestScript) *cluster { return ts.Value("cluster").(*cluster) }

var targets = map[string]registry.Target{"loaded": registry.Target_LOADED, "launched": registry.Target_LAUNCHED, "gone": registry.Target_GONE}

// assign is: place UNIT TARGET waits until the unit is to be that, and assigns
// it to m1 as the engine would.
func assign(ts *testscript.TestScript, _ bool, args []string) {
	c, name := clusterOf(ts), unit.Name(args[0])
	u := c.unit(ts, name, targets[args[1]])
	c.put(registry.AssignmentKey(m1, name), registry.Encode(&registry.Assignment{Version: 1, File: u.GetFile(), Target: u.GetTarget(), Generation: u.GetGeneration()}))
}

// report UNIT TARGET ACTIVE SUB [RESULT STATUS] writes what machine m1 saw once
// the unit was to be TARGET.
func report(ts *testscript.TestScript, _ bool, args []string) {
	c, name := clusterOf(ts), unit.Name(args[0])
	u := c.unit(ts, name, targets[args[1]])
	o := &registry.Observed{Version: 1, Load: "loaded", Active: args[2], Sub: args[3], Result: "success", Incarnation: "boot", Generation: u.GetGeneration(), File: u.GetFile()}
	if len(args) == 6 {
		status, err := strconv.Atoi(args[5])
		ts.Check(err)
		o.Result, o.ExitStatus = args[4], int32(status)
	}
	c.put(registry.ObservedKey(m1, name), registry.Encode(o))
}

// pend is: pending UNIT TARGET TEXT says that the unit fits nowhere.
func pend(ts *testscript.TestScript, _ bool, args []string) {
	c, name := clusterOf(ts), unit.Name(args[0])
	u := c.unit(ts, name, targets[args[1]])
	c.put(registry.PendingKey(name), registry.Encode(&registry.Pending{Version: 1, Generation: u.GetGeneration(), Text: args[2],
		Refusals: []*registry.Refusal{{Rule: "metadata", Detail: "lacks region=us", Machines: []string{string(m1), string(m2)}}}}))
}

// forget UNIT... waits until the units are to be gone, and forgets them.
func forget(ts *testscript.TestScript, _ bool, args []string) {
	c := clusterOf(ts)
	for _, arg := range args {
		name := unit.Name(arg)
		c.unit(ts, name, registry.Target_GONE)
		c.drop(registry.Single(registry.UnitKey(name)), registry.Single(registry.AssignmentKey(m1, name)), registry.Single(registry.ObservedKey(m1, name)), registry.Single(registry.PendingKey(name)))
	}
}

// breakoff sends an interrupt to the command that runs in the background, once
// it has asked for a unit: breakoff UNIT TARGET.
func breakoff(ts *testscript.TestScript, _ bool, args []string) {
	clusterOf(ts).unit(ts, unit.Name(args[0]), targets[args[1]])
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(os.Interrupt))
	}
}
