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

// floor is how fast a bare etcd hands over keys to watchers: each transaction
// is guarded and writes 100 keys, four are in flight. keys says whom the n-th
// key is for; txn is how many keys a transaction has.
func floor(tb testing.TB, watchers, units int, whose func(n int) int) (perSecond float64, p99 time.Duration) {
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
	defer server.Close()
	<-server.Server.ReadyNotify()
	inside := v3client.New(server.Server)
	defer inside.Close()
	leader, err := inside.Put(context.Background(), "/floor-leader", "me")
	check(tb, err)
	child := startChild(tb, "raw", rawConfig{client.Host, watchers, units})
	defer child.kill()
	var ready bool
	check(tb, readJSON(child.out, &ready))

	const batch = 100
	value := strings.Repeat("v", 80) // about as long as an assignment
	written := newStamps(units)
	var g errgroup.Group
	g.SetLimit(4)
	begun := time.Now()
	for from := 0; from < units; from += batch {
		g.Go(func() error {
			var ops []clientv3.Op
			for n := from; n < min(from+batch, units); n++ {
				written.now(n)
				ops = append(ops, clientv3.OpPut(prefixOf(whose(n))+strconv.Itoa(n), value))
			}
			guard := clientv3.Compare(clientv3.CreateRevision("/floor-leader"), "=", leader.Header.Revision)
			_, err := inside.Txn(context.Background()).If(guard).Then(ops...).Commit()
			return err
		})
	}
	check(tb, g.Wait())
	waitFor(tb, "told by the bare etcd", units, time.Minute, func() int { return int(ask[[2]int64](child, "count")[0]) })
	told := ask[[2][]int64](child, "stamps")[0]
	took := last(told).Sub(begun)
	return float64(units) / took.Seconds(), quantile(between(written.all(), told), 0.99)
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
