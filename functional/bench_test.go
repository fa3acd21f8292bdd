package functional

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/clusterd/clusterd/functional/lab"
)

// benchCluster boots a cluster of three machines for one benchmark.
func benchCluster(b *testing.B) *cluster {
	b.Helper()
	return ownCluster(b, lab.Options{Name: benchName()})
}

// benchName is the lab's, after the tests' prefix.
func benchName() string { return cmp.Or(os.Getenv("CLUSTERD_LAB"), "bench") }

// timed runs clusterctl, which must succeed, and returns how long it took.
func (c *cluster) timed(args ...string) time.Duration {
	c.Helper()
	begun := time.Now()
	c.ctl(args...)
	return time.Since(begun)
}

// script runs a shell script on a machine, which must succeed, and returns what
// it printed.
func (c *cluster) script(machine, text string) string {
	c.Helper()
	return c.must(machine, "bash", "-euc", text)
}

// stopwatch is the shell function timed, which prints how many microseconds a
// command took.
const stopwatch = `timed() { local begun=${EPOCHREALTIME/./}; "$@" >/dev/null; echo $((${EPOCHREALTIME/./} - begun)); }
`

// microseconds reads what stopwatch printed.
func (c *cluster) microseconds(text string) []time.Duration {
	c.Helper()
	var all []time.Duration
	for _, word := range strings.Fields(text) {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			c.Fatalf("no microseconds: %q", text)
		}
		all = append(all, time.Duration(n)*time.Microsecond)
	}
	return all
}

// metrics reads a machine's metrics; those with labels are left out.
func (c *cluster) metrics(machine string) map[string]float64 {
	c.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.lab.Socket(machine))
		},
	}}
	answer, err := client.Get("http://" + machine + "/metrics")
	if err != nil {
		c.Fatalf("metrics of %s: %v", machine, err)
	}
	defer answer.Body.Close()
	values := map[string]float64{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			values[name] = value
		}
	}
	if len(values) == 0 {
		c.Fatalf("metrics of %s: %s, and none can be read", machine, answer.Status)
	}
	return values
}

// etcdLeader returns the machine whose member leads etcd, once there is one.
func (c *cluster) etcdLeader(machines ...string) string {
	c.Helper()
	leader := ""
	c.eventually("an etcd leader", soon, func() (string, bool) {
		for _, m := range machines {
			if c.metrics(m)["etcd_server_is_leader"] == 1 {
				leader = m
			}
		}
		return "none", leader != ""
	})
	return leader
}

// middle is the median of values, which it sorts.
func middle[T ~int64 | ~float64](values []T) T {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// ratios divides a by b, pair by pair.
func ratios(a, b []time.Duration) []float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = float64(a[i]) / float64(b[i])
	}
	return all
}

// table is a benchmark's result for people.
type table struct {
	text bytes.Buffer
	w    *tabwriter.Writer
}

func newTable(head string) *table {
	t := &table{}
	t.w = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	t.row("%s", head)
	return t
}

// row adds a line; tabs separate its cells.
func (t *table) row(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

// print shows the table on standard output, since testing cuts what a
// benchmark logs off after ten lines.
func (t *table) print(b *testing.B) {
	b.Helper()
	if err := t.w.Flush(); err != nil {
		b.Fatal(err)
	}
	fmt.Printf("\n%s\n", t.text.String())
}

// ms writes a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

// report is one metric of a duration, instead of the time per operation, which
// means nothing where an operation is a whole story.
func report(b *testing.B, d time.Duration, unit string) {
	value := d.Seconds()
	if strings.HasPrefix(unit, "ms") {
		value *= 1000
	}
	b.ReportMetric(value, unit)
	b.ReportMetric(0, "ns/op")
}
