package etcd_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
)

const (
	benchMachines = 1000
	benchUnits    = 1000 // of each machine
)

// fill writes a million records of 64 bytes below each of two prefixes: one
// whose sub-ranges are known, and names that nobody can know beforehand.
func fill(b *testing.B, member *etcd.Member, prefix string) (machines []string) {
	b.Helper()
	value := string(make([]byte, 64))
	var waits sync.WaitGroup
	for m := range benchMachines {
		machine := fmt.Sprintf("%032x", uint64(m)*0x9e3779b97f4a7c15)
		machines = append(machines, machine)
	}
	for worker := range 4 {
		waits.Go(func() {
			for m := worker; m < benchMachines; m += 4 {
				var ops []clientv3.Op
				for u := range benchUnits {
					n := m*benchUnits + u
					ops = append(ops,
						clientv3.OpPut(fmt.Sprintf("%sassignments/%s/web@%06d.service", prefix, machines[m], n), value),
						clientv3.OpPut(fmt.Sprintf("%sunits/web@%06d.service", prefix, n), value))
					if len(ops) < 120 && u < benchUnits-1 {
						continue
					}
					if _, err := member.Client().Txn(context.Background()).Then(ops...).Commit(); err != nil {
						b.Error(err)
						return
					}
					ops = nil
				}
			}
		})
	}
	waits.Wait()
	return machines
}

// BenchmarkList is the time to list a million records of two million: as the
// registry does it, and the floor: etcd's own client that knows a thousand
// equal parts beforehand, in fours.
func BenchmarkList(b *testing.B) {
	if os.Getenv("CLUSTERD_BENCH_LIST") == "" {
		b.Skip("writes two million records first; set CLUSTERD_BENCH_LIST=1")
	}
	authority := newAuthority(b)
	member := startMember(b, authority.member(b, "m1", 0))
	awaitReady(b, member)
	machines := fill(b, member, etcd.DefaultPrefix)
	store := etcd.NewStore(member.Connection(), etcd.DefaultPrefix)
	want := func(b *testing.B, n int) {
		if n != benchMachines*benchUnits {
			b.Fatalf("listed %d records", n)
		}
	}
	floor := func(b *testing.B, parts [][2]string) {
		for b.Loop() {
			work, counts := make(chan [2]string), make(chan int, 4)
			for range 4 {
				go func() {
					n := 0
					for p := range work {
						resp, err := member.Client().Get(context.Background(), etcd.DefaultPrefix+p[0], clientv3.WithRange(etcd.DefaultPrefix+p[1]))
						if err != nil {
							b.Error(err)
							break
						}
						n += len(resp.Kvs)
					}
					counts <- n
				}()
			}
			for _, p := range parts {
				work <- p
			}
			close(work)
			want(b, <-counts+<-counts+<-counts+<-counts)
		}
	}
	var byMachine, byName [][2]string
	for _, m := range machines {
		r := registry.Prefix(registry.AssignmentsPrefix + m + "/")
		byMachine = append(byMachine, [2]string{r.From, r.To})
	}
	for i := range 1000 {
		r := registry.Prefix(fmt.Sprintf("%sweb@%03d", registry.UnitsPrefix, i))
		byName = append(byName, [2]string{r.From, r.To})
	}
	list := func(b *testing.B, prefix string) {
		for b.Loop() {
			n := 0
			err := store.List(b.Context(), registry.Prefix(prefix), registry.Listing{}, func(p registry.Part) { n += len(p.Records) })
			if err != nil {
				b.Fatal(err)
			}
			want(b, n)
		}
	}
	for range 2 {
		b.Run("by machine/floor", func(b *testing.B) { floor(b, byMachine) })
		b.Run("by machine/List", func(b *testing.B) { list(b, registry.AssignmentsPrefix) })
		b.Run("by name/floor", func(b *testing.B) { floor(b, byName) })
		b.Run("by name/List", func(b *testing.B) { list(b, registry.UnitsPrefix) })
	}
}
