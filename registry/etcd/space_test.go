package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
)

func eventually(t *testing.T, what string, try func() (seen string, ok bool)) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		seen, ok := try()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: last seen: %s", what, seen)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestFullRegistry fills etcd, with history and then with records. Reads,
// leases and deletions go on; room is made where there is some.
func TestFullRegistry(t *testing.T) {
	config := newAuthority(t).member(t, "m1", 0)
	config.QuotaBytes = 24 << 20
	member := startMember(t, config)
	awaitReady(t, member)
	store := etcd.NewStore(member.Connection(), etcd.DefaultPrefix)
	put := func(key string) error {
		_, err := store.Commit(t.Context(), nil, []registry.Op{{Key: key, Value: make([]byte, 512<<10)}})
		return err
	}
	fill := func(key func(n int) string) error {
		for n := range 200 {
			if err := put(key(n)); err != nil {
				return err
			}
		}
		t.Fatal("etcd of 24 MiB took 100 MiB")
		return nil
	}
	lease, err := store.Grant(t.Context(), 0, time.Minute)
	must(t, err)
	must(t, put("units/before"))

	err = fill(func(int) string { return "units/again" })
	if !errors.Is(err, registry.ErrFull) || !strings.Contains(err.Error(), "write units/again: ") || !strings.Contains(err.Error(), "EtcdQuotaMiB=") {
		t.Fatalf("a full etcd: got %v, want ErrFull with the fix", err)
	}
	if s, err := store.Range(t.Context(), registry.Single("units/before")); err != nil || len(s.Records) != 1 {
		t.Errorf("read: got %d records, %v", len(s.Records), err)
	}
	if _, err := store.KeepAlive(t.Context(), lease); err != nil {
		t.Errorf("keep-alive: %v", err)
	}
	if _, err := store.Commit(t.Context(), nil, []registry.Op{{Delete: registry.Single("units/before")}}); err != nil {
		t.Errorf("deletion: %v", err)
	}

	keeper := &etcd.Keeper{Connection: member.Connection(), Member: member, Every: 50 * time.Millisecond, Log: logger(t)}
	ctx, cancel := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	keeping.Go(func() { keeper.Run(ctx) })
	defer keeping.Wait()
	defer cancel()
	eventually(t, "history makes room: it is written to again", func() (string, bool) {
		err := put("units/again")
		return fmt.Sprint(err, keeper.Space()), err == nil
	})
	eventually(t, "all is well again", func() (string, bool) {
		s := keeper.Space()
		return fmt.Sprintf("%+v", s), s.Notice() == "" && s.QuotaBytes == config.QuotaBytes
	})

	seen := map[string]bool{}
	for n := 0; err == nil || n == 0; n++ {
		err = put(fmt.Sprintf("units/%d", n))
		time.Sleep(60 * time.Millisecond) // the keeper looks in between
		_, what, _ := strings.Cut(keeper.Space().Notice(), " MiB")
		seen[what] = true
	}
	if !errors.Is(err, registry.ErrFull) || len(seen) < 3 {
		t.Errorf("filled with records: got %v; want a notice at 60 %% and another at 80 %%, got %v", err, seen)
	}
	eventually(t, "it says that it is full, for there is no room to make", func() (string, bool) {
		s := keeper.Space()
		return fmt.Sprintf("%+v", s), s.Full && strings.Contains(s.Notice(), "etcd is full") && strings.Contains(s.Notice(), "EtcdQuotaMiB=")
	})
	if err := put("units/more"); !errors.Is(err, registry.ErrFull) {
		t.Errorf("still full: got %v", err)
	}
	_, err = store.Commit(t.Context(), nil, []registry.Op{{Delete: registry.Prefix("units/")}})
	must(t, err)
	eventually(t, "deletions make room: it is written to again", func() (string, bool) {
		err := put("units/again")
		return fmt.Sprint(err, keeper.Space()), err == nil
	})
}

func TestSpace_Notice(t *testing.T) {
	for _, test := range []struct {
		file int64
		full bool
		want string
	}{
		{59, false, ""},
		{60, false, "60 % of etcd's 100 MiB are used; before all are, raise EtcdQuotaMiB= on"},
		{80, false, "80 % of etcd's 100 MiB are used; when all are, nothing can be changed: raise EtcdQuotaMiB= on"},
		{40, true, "etcd is full (40 % of etcd's 100 MiB): units run on, but nothing can be changed; room is made where there is some, else raise EtcdQuotaMiB= on"},
	} {
		s := etcd.Space{FileBytes: test.file << 20, QuotaBytes: 100 << 20, Full: test.full}
		if got := s.Notice(); !strings.HasPrefix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%d %%, full %t: got %q, want %q", test.file, test.full, got, test.want)
		}
	}
}
