package etcd_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
)

// machine is a machine with an etcd member, as clusterd would run it.
type machine struct {
	config etcd.MemberConfig
	member *etcd.Member
}

func (m *machine) start(t *testing.T) {
	t.Helper()
	var err error
	if m.member, err = etcd.StartMember(context.Background(), m.config); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) stop(t *testing.T) {
	t.Helper()
	if m.member == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := m.member.Stop(ctx); err != nil {
		t.Error(err)
	}
	m.member = nil
}

func register(t *testing.T, store registry.Store, m *machine) {
	t.Helper()
	id := m.config.Machine
	_, err := store.Commit(t.Context(), nil, []registry.Op{
		{Key: registry.MachineKey(id), Value: registry.Encode(&registry.Machine{EtcdPeer: m.config.Advertise})},
		{Key: registry.AliveKey(id), Value: registry.Encode(&registry.Alive{})},
	})
	must(t, err)
}

func await[T any](t *testing.T, what string, try func() (T, error)) T {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		got, err := try()
		if err == nil {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited 60s for %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func record(t *testing.T, store registry.Store, id registry.MachineID, promoted bool) *registry.Member {
	t.Helper()
	return await(t, fmt.Sprintf("record of member %s, promoted %v", id, promoted), func() (*registry.Member, error) {
		s, err := store.Range(t.Context(), registry.Single(registry.MemberKey(id)))
		if err != nil || len(s.Records) == 0 {
			return nil, fmt.Errorf("no record (%v)", err)
		}
		m, err := registry.Decode[registry.Member](s.Records[0])
		if err == nil && promoted && !m.Promoted {
			err = fmt.Errorf("it is a learner")
		}
		return m, err
	})
}

// TestC01_ThreeMembersGrowAndRecover grows one member to three, as machines join;
// with one of them stopped the registry still takes writes, and with all
// of them restarted it is as it was.
func TestC01_ThreeMembersGrowAndRecover(t *testing.T) {
	authority := newAuthority(t)
	machines := make([]*machine, 3)
	for i := range machines {
		machines[i] = &machine{config: authority.member(t, registry.MachineID(fmt.Sprintf("m%d", i+1)), 0)}
		t.Cleanup(func() { machines[i].stop(t) })
	}
	first := machines[0]
	first.start(t)
	awaitReady(t, first.member)
	store := etcd.NewStore(first.member.Connection(), etcd.DefaultPrefix)
	_, err := store.Commit(t.Context(), nil, []registry.Op{{Key: registry.ClusterKey, Value: registry.Encode(&registry.Cluster{Id: "test", MembersWanted: 3})}})
	must(t, err)
	register(t, store, first)

	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	leader, err := registry.Campaign(ctx, store, &registry.Leader{Machine: "m1"}, 5*time.Second, 1500*time.Millisecond, logger(t))
	must(t, err)
	membership := etcd.Membership{Store: store, Cluster: first.member.Client(), Guard: leader.Guard(), Log: logger(t)}
	running.Go(func() { membership.Run(ctx) })

	record(t, store, "m1", true)
	register(t, store, machines[1])
	register(t, store, machines[2])
	for _, m := range machines[1:] {
		m.config.InitialCluster = record(t, store, m.config.Machine, false).InitialCluster
		m.start(t)
		record(t, store, m.config.Machine, true)
		awaitReady(t, m.member)
	}
	must(t, leader.Resign(t.Context()))
	cancel()

	first.stop(t)
	store = etcd.NewStore(machines[1].member.Connection(), etcd.DefaultPrefix)
	put := func() (registry.Revision, error) {
		return store.Commit(t.Context(), nil, []registry.Op{{Key: "units/a.service", Value: []byte("x")}})
	}
	await(t, "a write with two of three members", put)

	machines[1].stop(t)
	machines[2].stop(t)
	for _, m := range machines[1:] {
		m.start(t)
	}
	store = etcd.NewStore(machines[1].member.Connection(), etcd.DefaultPrefix)
	await(t, "a write after two members restarted", put)
	first.start(t)
	awaitReady(t, first.member)
	got, err := etcd.NewStore(first.member.Connection(), etcd.DefaultPrefix).Range(t.Context(), registry.Single("units/a.service"))
	if err != nil || len(got.Records) != 1 || string(got.Records[0].Value) != "x" {
		t.Errorf("after all restarted got %v, %v, want the unit", got.Records, err)
	}
}

// TestC01_MemberStartsWithoutQuorum starts one of three members alone: that is no error,
// calls say that nothing answers, and stopping works.
func TestC01_MemberStartsWithoutQuorum(t *testing.T) {
	authority := newAuthority(t)
	config := authority.member(t, "m1", 0)
	config.InitialCluster = ""
	alone := &machine{config: config}
	t.Cleanup(func() { alone.stop(t) })
	alone.start(t)
	awaitReady(t, alone.member)
	other := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	_, err := alone.member.Client().MemberAdd(t.Context(), []string{etcd.PeerURL(other)})
	must(t, err)
	alone.stop(t)
	if !etcd.Initialised(config.Dir) {
		t.Error("the member's directory isn't known for one")
	}

	alone.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := etcd.NewStore(alone.member.Connection(), etcd.DefaultPrefix).Range(ctx, registry.Everything()); err == nil {
		t.Error("a read without a quorum succeeded")
	}
	select {
	case <-alone.member.Ready():
		t.Error("ready without a quorum")
	default:
	}
}
