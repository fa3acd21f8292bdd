package hollow

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The process of the machines is this test's own program, started again with
// this variable set.
const asFleet = "CLUSTERD_HOLLOW_FLEET"

func TestMain(m *testing.M) {
	kind := os.Getenv(asFleet)
	if path := os.Getenv(profileTo); kind != "" && path != "" {
		if f, err := os.Create(path); err == nil {
			_ = pprof.StartCPUProfile(f)
		}
	}
	switch kind {
	case "":
		os.Exit(m.Run())
	case "raw":
		exit(serveWatchers(os.Stdin, os.Stdout))
	default:
		exit(serveFleet(os.Stdin, os.Stdout))
	}
}

// profileTo is where the process of the machines writes a CPU profile, if set.
const profileTo = "CLUSTERD_HOLLOW_PROFILE"

func exit(err error) {
	pprof.StopCPUProfile()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hollow machines:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveFleet runs machines as the first line of in says, and answers each
// further line, until in ends.
func serveFleet(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	f := &fleet{log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
	if err := readJSON(lines, &f.config); err != nil {
		return err
	}
	f.told, f.started = newStamps(f.config.Units), newStamps(f.config.Units)
	f.woken = make([]atomic.Int64, f.config.Machines)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	if err := f.start(ctx, &running); err != nil {
		cancel()
		return err
	}
	err := answer(lines, out, f.told, f.started, f.woken)
	cancel()
	running.Wait()
	return err
}

func readJSON(lines *bufio.Reader, to any) error {
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, to)
}

// answer tells how many units were told and started ("count"), when ("stamps"),
// how often machines were woken ("woken"), and what memory and time this
// process has used ("usage").
func answer(lines *bufio.Reader, out io.Writer, told, started *stamps, woken []atomic.Int64) error {
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var reply any
		switch strings.TrimSpace(line) {
		case "count":
			reply = [2]int64{told.count.Load(), started.count.Load()}
		case "stamps":
			reply = [2][]int64{told.all(), started.all()}
		case "woken":
			n := make([]int64, len(woken))
			for i := range woken {
				n[i] = woken[i].Swap(0)
			}
			reply = n
		case "usage":
			reply = ownUsage()
		default:
			return fmt.Errorf("no such question: %q", line)
		}
		if err := json.NewEncoder(out).Encode(reply); err != nil {
			return err
		}
	}
}

func (s *stamps) all() []int64 {
	all := make([]int64, len(s.at))
	for i := range s.at {
		all[i] = s.at[i].Load()
	}
	return all
}

// usage is what a process has used.
type usage struct {
	CPU time.Duration
	RSS int64 // bytes
}

func ownUsage() usage {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	text, _ := os.ReadFile("/proc/self/statm")
	var pages int64
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ = strconv.ParseInt(f[1], 10, 64)
	}
	return usage{time.Duration(u.Utime.Nano() + u.Stime.Nano()), pages * int64(os.Getpagesize())}
}

// child is the process of the machines, as its parent sees it.
type child struct {
	tb  testing.TB
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

// startChild starts it with its configuration.
func startChild(tb testing.TB, kind string, config any) *child {
	tb.Helper()
	self, err := os.Executable()
	check(tb, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asFleet+"="+kind)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	check(tb, err)
	out, err := cmd.StdoutPipe()
	check(tb, err)
	check(tb, cmd.Start())
	c := &child{tb, in, bufio.NewReaderSize(out, 1<<20), cmd}
	check(tb, json.NewEncoder(in).Encode(config))
	return c
}

// end ends the process; the machines go away in order if they have the time.
func (c *child) end() {
	c.in.Close()
	kill := time.AfterFunc(30*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	_ = c.cmd.Wait()
}

// kill ends the process at once: all machines crash.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func ask[T any](c *child, question string) T {
	c.tb.Helper()
	_, err := io.WriteString(c.in, question+"\n")
	check(c.tb, err)
	var reply T
	check(c.tb, readJSON(c.out, &reply))
	return reply
}

// runDir makes a directory in memory, as /run is, for the agents' records.
func runDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "hollow-")
	check(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "run")
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// quantile of values, which it sorts.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}
