package hollow

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// rawConfig is what the process of bare watchers is told.
type rawConfig struct {
	Endpoint        string
	Watchers, Units int
}

// serveWatchers is the floor's other process: etcd clients that watch a prefix
// each, and nothing else. Keys end in the number of what they stand for.
func serveWatchers(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	var config rawConfig
	if err := readJSON(lines, &config); err != nil {
		return err
	}
	told := newStamps(config.Units)
	for i := range config.Watchers {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{config.Endpoint}, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		defer client.Close()
		watch := client.Watch(context.Background(), prefixOf(i), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		if r := <-watch; r.Err() != nil {
			return r.Err()
		}
		go func() {
			for r := range watch {
				for _, e := range r.Events {
					key := string(e.Kv.Key)
					n, _ := strconv.Atoi(key[strings.LastIndexByte(key, '/')+1:])
					told.now(n)
				}
			}
		}()
	}
	fmt.Fprintln(out, "true")
	return answer(lines, out, told, told, nil)
}

func prefixOf(watcher int) string { return fmt.Sprintf("/floor/%s/", machineID(watcher)) }

// bare is an etcd with nothing of ours, and watchers in another process.
type bare struct {
	testing.TB
	client  *clientv3.Client
	child   *child
	leader  int64 // create revision of what each transaction is guarded by
	written *stamps
}

func newBare(tb testing.TB, watchers, units int) *bare {
	tb.Helper()
	config := embed.NewConfig()
	config.Dir = tb.TempDir()
	client, peer := url.URL{Scheme: "http", Host: freeAddress(tb)}, url.URL{Scheme: "http", Host: freeAddress(tb)}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.Name + "=" + peer.String()
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(config)
	check(tb, err)
	tb.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	inside := v3client.New(server.Server)
	tb.Cleanup(func() { inside.Close() })
	leader, err := inside.Put(context.Background(), "/floor-leader", "me")
	check(tb, err)
	b := &bare{tb, inside, startChild(tb, "raw", rawConfig{client.Host, watchers, units}), leader.Header.Revision, newStamps(units)}
	tb.Cleanup(b.child.kill)
	var ready bool
	check(tb, readJSON(b.child.out, &ready))
	return b
}

// deliver writes the keys from one number up to another, 100 in a guarded
// transaction and four of those in flight, and waits until all were told.
// whose says which watcher a key is for. It returns how long that took.
func (b *bare) deliver(from, to int, whose func(n int) int) time.Duration {
	b.Helper()
	const batch = 100
	value := strings.Repeat("v", 80) // about as long as an assignment
	var g errgroup.Group
	g.SetLimit(4)
	begun := time.Now()
	for at := from; at < to; at += batch {
		g.Go(func() error {
			var ops []clientv3.Op
			for n := at; n < min(at+batch, to); n++ {
				b.written.now(n)
				ops = append(ops, clientv3.OpPut(prefixOf(whose(n))+strconv.Itoa(n), value))
			}
			guard := clientv3.Compare(clientv3.CreateRevision("/floor-leader"), "=", b.leader)
			_, err := b.client.Txn(context.Background()).If(guard).Then(ops...).Commit()
			return err
		})
	}
	check(b, g.Wait())
	waitFor(b, "told by the bare etcd", to, time.Minute, func() int { return int(ask[[2]int64](b.child, "count")[0]) })
	return last(ask[[2][]int64](b.child, "stamps")[0]).Sub(begun)
}

// p99 is how long a key took from before its transaction until it was told.
func (b *bare) p99() time.Duration {
	return quantile(between(b.written.all(), ask[[2][]int64](b.child, "stamps")[0]), 0.99)
}

func last(stamps []int64) time.Time {
	var latest int64
	for _, at := range stamps {
		latest = max(latest, at)
	}
	return time.Unix(0, latest)
}

// between are the times from one moment of each unit to the other.
func between(from, to []int64) []time.Duration {
	var all []time.Duration
	for i := range from {
		if from[i] > 0 && to[i] > 0 {
			all = append(all, time.Duration(to[i]-from[i]))
		}
	}
	return all
}
