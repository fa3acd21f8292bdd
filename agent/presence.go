package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/registry"
)

// ErrDuplicate says that another machine is in the cluster under this
// machine's identity.
var ErrDuplicate = errors.New("machine id in use by another machine")

// presence keeps this machine's records and its lease.
type presence struct {
	store       registry.Store
	id          registry.MachineID
	machine     *registry.Machine
	incarnation string
	leasePath   string
	ttl, every  time.Duration
	log         *slog.Logger

	again chan struct{}    // asks to look at the machine's records again
	lease registry.LeaseID // 0: none, or gone
}

// verify returns ErrDuplicate when another host is alive under this machine's
// identity. A machine that was set up anew, or booted again in no time, meets
// its own old lease for a while, so that is waited for.
func (p *presence) verify(ctx context.Context) error {
	p.loadLease()
	var deadline time.Time // set when another one was first met
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		err := p.verifyOnce(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrDuplicate) && deadline.IsZero():
			deadline = time.Now().Add(3 * p.ttl)
		case errors.Is(err, ErrDuplicate) && time.Now().After(deadline):
			return err
		}
		p.log.Debug("machine not verified", "error", err)
		if !wait(ctx, pause) {
			return ctx.Err()
		}
	}
}

func (p *presence) verifyOnce(ctx context.Context) error {
	known, _, err := readRecord[registry.Machine](ctx, p.store, registry.MachineKey(p.id))
	if errors.Is(err, registry.ErrUnreadable) {
		known, err = nil, nil // written anew by register
	}
	if err != nil || known == nil {
		return err
	}
	alive, rec, err := readRecord[registry.Alive](ctx, p.store, registry.AliveKey(p.id))
	if errors.Is(err, registry.ErrUnreadable) {
		alive, err = nil, nil
	}
	switch {
	case err != nil || alive == nil || rec.Lease == p.lease && p.lease != 0:
		return err
	case known.CertificateSha256 == p.machine.CertificateSha256 && alive.Incarnation == p.incarnation:
		return nil // an earlier clusterd's, whose lease was not kept
	}
	return fmt.Errorf("machine %s: %w: %s at %s; give this host an identity of its own: stop clusterd, rm -r /etc/machine-id and clusterd's data directory, systemd-machine-id-setup, reboot, clusterd join",
		p.id, ErrDuplicate, known.Hostname, known.Address)
}

// run keeps the machine's records and lease until ctx ends.
func (p *presence) run(ctx context.Context) {
	present := false
	for pause := retryFirst; ; {
		err := p.beat(ctx, &present)
		next := p.every
		if err != nil {
			next, pause = pause, min(2*pause, p.every)
			p.log.Debug("machine not kept alive", "error", err)
		} else {
			pause = retryFirst
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.again:
			timer.Stop()
			present = false
		case <-timer.C:
		}
	}
}

// beat keeps the lease, and sees to the machine's records once for each lease.
func (p *presence) beat(ctx context.Context, present *bool) error {
	ctx, cancel := context.WithTimeout(ctx, max(p.ttl/2, time.Second)) // all of it: keep-alives wait meanwhile
	defer cancel()
	if p.lease != 0 {
		_, err := p.keepAlive(ctx)
		if err != nil && !errors.Is(err, registry.ErrLeaseGone) {
			return fmt.Errorf("keep lease: %w", err)
		}
		if err != nil {
			p.log.Info("machine's lease ran out", "machine", p.id)
			p.lease, *present = 0, false
		}
	}
	if p.lease == 0 {
		id, err := p.store.Grant(ctx, 0, p.ttl)
		if err != nil {
			return fmt.Errorf("make lease: %w", err)
		}
		if err := p.keepLease(id); err != nil {
			p.log.Warn("lease not kept for a restart of clusterd", "error", err)
		}
	}
	if *present {
		return nil
	}
	if err := p.register(ctx); err != nil {
		return err
	}
	*present = true
	p.log.Info("machine registered", "machine", p.id, "address", p.machine.Address)
	return nil
}

func (p *presence) keepAlive(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, max(p.every, time.Second))
	defer cancel()
	return p.store.KeepAlive(ctx, p.lease)
}

// see takes a change of one of the machine's own records in. When they are no
// longer what register makes of them, it is to look again: a mark that another
// clusterd left late, or a registry that lost them.
func (p *presence) see(e registry.Event) {
	lost := e.Deleted && (e.Key == registry.AliveKey(p.id) || e.Key == registry.MachineKey(p.id))
	if away := !e.Deleted && e.Key == registry.AwayKey(p.id); lost || away {
		p.lookAgain()
	}
}

func (p *presence) lookAgain() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// register writes what of the machine's records is not as it should be.
func (p *presence) register(ctx context.Context) error {
	known, _, err := readRecord[registry.Machine](ctx, p.store, registry.MachineKey(p.id))
	if err != nil && !errors.Is(err, registry.ErrUnreadable) {
		return err
	}
	alive, rec, err := readRecord[registry.Alive](ctx, p.store, registry.AliveKey(p.id))
	if err != nil && !errors.Is(err, registry.ErrUnreadable) {
		return err
	}
	_, away, err := readRecord[registry.Away](ctx, p.store, registry.AwayKey(p.id))
	if err != nil && !errors.Is(err, registry.ErrUnreadable) {
		return err
	}
	var ops []registry.Op
	if wanted := withUnknown(p.machine, known); known == nil || !proto.Equal(known, wanted) {
		ops = append(ops, registry.Op{Key: registry.MachineKey(p.id), Value: registry.Encode(wanted)})
	}
	if alive == nil || alive.Incarnation != p.incarnation || rec.Lease != p.lease {
		value := registry.Encode(&registry.Alive{Incarnation: p.incarnation})
		ops = append(ops, registry.Op{Key: registry.AliveKey(p.id), Value: value, Lease: p.lease})
	}
	if away.Key != "" {
		ops = append(ops, registry.Op{Delete: registry.Single(registry.AwayKey(p.id))})
	}
	if len(ops) == 0 {
		return nil
	}
	if _, err := p.store.Commit(ctx, nil, ops); err != nil {
		return fmt.Errorf("register machine %s: %w", p.id, err)
	}
	return nil
}

// withUnknown is machine with the fields of known that newer software wrote.
func withUnknown(machine, known *registry.Machine) *registry.Machine {
	wanted := proto.CloneOf(machine)
	wanted.Version = registry.RecordVersion
	if known != nil {
		wanted.ProtoReflect().SetUnknown(known.ProtoReflect().GetUnknown())
	}
	return wanted
}

// leave tells the cluster that this clusterd stops. With shutdown, the machine
// goes down, and the lease ends at once, so that its units can move.
func (p *presence) leave(ctx context.Context, shutdown bool) error {
	away := &registry.Away{SinceUnixMs: time.Now().UnixMilli(), Shutdown: shutdown, Incarnation: p.incarnation}
	op := registry.Op{Key: registry.AwayKey(p.id), Value: registry.Encode(away)}
	if _, err := p.store.Commit(ctx, nil, []registry.Op{op}); err != nil {
		return fmt.Errorf("mark machine %s away: %w", p.id, err)
	}
	if !shutdown || p.lease == 0 {
		return nil
	}
	if err := p.store.Revoke(ctx, p.lease); err != nil {
		return fmt.Errorf("end lease of machine %s: %w", p.id, err)
	}
	return nil
}

func (p *presence) loadLease() {
	b, err := os.ReadFile(p.leasePath)
	if err != nil {
		return
	}
	id, err := strconv.ParseInt(strings.TrimSpace(string(b)), 16, 64)
	if err == nil {
		p.lease = registry.LeaseID(id)
	}
}

func (p *presence) keepLease(id registry.LeaseID) error {
	p.lease = id
	if err := os.MkdirAll(filepath.Dir(p.leasePath), 0o755); err != nil {
		return err
	}
	return replaceFile(p.leasePath, []byte(strconv.FormatInt(int64(id), 16)+"\n"))
}

// readRecord reads one record; nil without an error when it is not there.
func readRecord[T any, P interface {
	*T
	registry.Message
}](ctx context.Context, store registry.Records, key string) (P, registry.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	snapshot, err := store.Range(ctx, registry.Single(key))
	if err != nil {
		return nil, registry.Record{}, fmt.Errorf("read %s: %w", key, err)
	}
	if len(snapshot.Records) == 0 {
		return nil, registry.Record{}, nil
	}
	m, err := registry.Decode[T, P](snapshot.Records[0])
	return m, snapshot.Records[0], err
}
