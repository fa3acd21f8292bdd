package functional

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/clusterd/clusterd/functional/lab"
)

// keys is where the cluster's records lie in etcd.
const keys = "/clusterd/"

// editRegistry stops clusterd on m1, the only etcd member, changes etcd's data
// behind everybody's back, and starts clusterd again, on all machines.
func (c *cluster) editRegistry(edit func(ctx context.Context, kv clientv3.KV)) {
	c.Helper()
	c.must("m1", "systemctl", "stop", "clusterd")
	c.openRegistry(edit)
	c.everywhere("systemctl", "restart", "clusterd")
}

func (c *cluster) openRegistry(edit func(ctx context.Context, kv clientv3.KV)) {
	c.Helper()
	config := embed.NewConfig()
	config.Name, config.Dir = strings.TrimSpace(c.must("m1", "cat", "/etc/machine-id")), filepath.Join(c.lab.Dir("m1"), "lib/clusterd/etcd")
	config.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}} // it has no peers
	config.ListenClientUrls, config.AdvertiseClientUrls = nil, nil
	config.LogLevel, config.Logger = "fatal", "zap"
	member, err := embed.StartEtcd(config)
	if err != nil {
		c.Fatalf("open the registry: %v", err)
	}
	defer member.Close()
	select {
	case <-member.Server.ReadyNotify():
	case <-time.After(soon):
		c.Fatal("the registry's etcd doesn't begin")
	}
	client := v3client.New(member.Server)
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context(), soon)
	defer cancel()
	edit(ctx, client)
}

// remove deletes what lies under a prefix.
func (c *cluster) remove(ctx context.Context, kv clientv3.KV, prefix string) {
	c.Helper()
	r, err := kv.Delete(ctx, keys+prefix, clientv3.WithPrefix())
	if err != nil || r.Deleted == 0 {
		c.Fatalf("delete %s*: %v, %v; want some keys deleted", prefix, r, err)
	}
}

// TestC03_SpoiledRegistry empties, restores and garbles the registry. Nothing
// that runs stops, whatever is restarted.
func TestC03_SpoiledRegistry(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "c03", Machines: 2})
	where := c.someUnits()
	c.must("m1", "sh", "-c", "systemctl stop clusterd && cp -a /var/lib/clusterd/etcd /var/lib/clusterd/etcd.kept && systemctl start clusterd")
	c.back()
	picture := summary(c.units())
	run := func(name string, do func(c *cluster)) {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, c.lab)
			c.calm(name, where, func() { do(c) })
		})
	}
	run("emptied", func(c *cluster) {
		c.editRegistry(func(ctx context.Context, kv clientv3.KV) { c.remove(ctx, kv, "") })
		before := c.identities(where)
		c.steadily("units stay", leaseTime, func() (string, bool) {
			now := c.identities(where)
			return now, now == before
		})
	})
	run("restored", func(c *cluster) {
		c.must("m1", "sh", "-c", "systemctl stop clusterd; cd /var/lib/clusterd && rm -rf etcd && cp -a etcd.kept etcd")
		c.everywhere("systemctl", "restart", "clusterd")
		c.back()
		c.eventually("list-units is as it was", soon, func() (string, bool) {
			seen := summary(c.units())
			return seen, seen == picture
		})
	})
	run("one record, one assignment and one file are garbage", func(c *cluster) {
		c.garble(where)
		c.back()
		c.eventually("the broken record is named", soon, func() (string, bool) {
			r := c.try("list-units")
			return r.String(), strings.Contains(r.stderr, "some-0.service")
		})
		before := c.identities(where)
		c.steadily("units stay", leaseTime, func() (string, bool) {
			now := c.identities(where)
			return now, now == before
		})
	})
	run("units, files and assignments are gone: running units are unclaimed", func(c *cluster) {
		c.editRegistry(func(ctx context.Context, kv clientv3.KV) {
			for _, prefix := range []string{"units/", "files/", "assignments/", "observed/"} {
				c.remove(ctx, kv, prefix)
			}
		})
		c.back()
		c.eventually("all are shown as unclaimed", soon, func() (string, bool) {
			seen := summary(c.units())
			return seen, strings.Count(seen, "active/running unclaimed") == len(where)
		})
	})
	run("submitted again, they are taken over where they run", func(c *cluster) {
		c.someUnits()
		c.eventually("list-units is as it was", soon, func() (string, bool) {
			seen := summary(c.units())
			return seen, seen == picture
		})
	})
}

// garble replaces one unit's record, another's assignment and the container's
// file by garbage.
func (c *cluster) garble(where map[string]state) {
	c.Helper()
	garbage := "\xff\xff\xffgarbage"
	c.editRegistry(func(ctx context.Context, kv clientv3.KV) {
		for _, key := range []string{"units/some-0.service", "assignments/" + where["some-1.service"].Machine + "/some-1.service"} {
			if _, err := kv.Put(ctx, keys+key, garbage); err != nil {
				c.Fatal(err)
			}
		}
		files, err := kv.Get(ctx, keys+"files/", clientv3.WithPrefix())
		if err != nil || len(files.Kvs) == 0 {
			c.Fatalf("read files: %v", err)
		}
		for _, f := range files.Kvs {
			if strings.Contains(string(f.Value), "Hello World") {
				if _, err := kv.Put(ctx, string(f.Key), garbage); err != nil {
					c.Fatal(err)
				}
			}
		}
	})
}
