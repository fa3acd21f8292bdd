package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Space is how much of the room that etcd allows itself its data takes.
type Space struct {
	FileBytes  int64 // of the file; with outside etcd that of the member that has most
	LiveBytes  int64 // of those, what holds records and their history
	QuotaBytes int64 // what the file may have
	Full       bool  // etcd said so, and takes no writes until that is taken back
}

const (
	spaceNotice = 60 // percent of the quota
	spaceAlarm  = 80
	spaceAmple  = 90 // below, a full etcd may be written to again
)

func (s Space) percent() int64 {
	if s.QuotaBytes <= 0 {
		return 0
	}
	return 100 * s.FileBytes / s.QuotaBytes
}

// Notice says what an operator should know, and do; empty while there is ample
// room.
func (s Space) Notice() string {
	const fix = "raise EtcdQuotaMiB= on the control machines and restart clusterd there, one after the other"
	room := fmt.Sprintf("%d %% of etcd's %d MiB", s.percent(), s.QuotaBytes>>20)
	switch {
	case s.Full:
		return fmt.Sprintf("etcd is full (%s): units run on, but nothing can be changed; room is made where there is some, else %s", room, fix)
	case s.percent() >= spaceAlarm:
		return fmt.Sprintf("%s are used; when all are, nothing can be changed: %s", room, fix)
	case s.percent() >= spaceNotice:
		return fmt.Sprintf("%s are used; before all are, %s", room, fix)
	}
	return ""
}

// level is 0 with ample room, more the worse it is.
func (s Space) level() int {
	switch {
	case s.Full:
		return 3
	case s.percent() >= spaceAlarm:
		return 2
	case s.percent() >= spaceNotice:
		return 1
	}
	return 0
}

// chores are what makes room on a member.
type chores struct {
	compact    bool // forget history, which those who watch from long ago then lack
	defragment bool // give back what the file has free; the member answers nobody meanwhile
	reopen     bool // take back that it is full
}

// plan says what to do. turn is whether it is this member's turn to defragment.
func (s Space) plan(turn bool) chores {
	free := s.FileBytes - s.LiveBytes
	return chores{
		compact:    s.Full,
		defragment: turn && (s.Full && free > s.FileBytes/10 || s.percent() >= spaceNotice/2 && free > s.FileBytes/2),
		reopen:     s.Full && s.percent() < spaceAmple,
	}
}

const (
	spaceEvery   = 15 * time.Second
	defragAgain  = 10 * time.Minute
	defragTurn   = time.Minute // of each member, one after the other
	choreTimeout = time.Minute
)

// Keeper watches how much room there is. On a control machine with an embedded
// member it makes some, too; an outside etcd is kept by others.
type Keeper struct {
	Connection *Connection
	Member     *Member       // nil with an outside etcd
	Every      time.Duration // 0: 15 s; it asks the member in this process only
	Log        *slog.Logger

	mu           sync.Mutex
	space        Space
	defragmented time.Time
}

// Space is what was seen last.
func (k *Keeper) Space() Space {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.space
}

// Run keeps until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	every := k.Every
	if every == 0 {
		every = spaceEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	failed := ""
	for ctx.Err() == nil {
		err := k.pass(ctx)
		if now := fmt.Sprint(err); err == nil {
			failed = ""
		} else if now != failed && ctx.Err() == nil {
			k.Log.Warn("etcd's room is not looked after", "error", err)
			failed = now
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (k *Keeper) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, choreTimeout)
	defer cancel()
	space, err := k.Connection.space(ctx)
	if err != nil {
		return err
	}
	k.note(space)
	if k.Member == nil {
		return nil
	}
	do := space.plan(k.turn(time.Now()))
	if do.compact {
		if err := k.compact(ctx); err != nil {
			return err
		}
	}
	if do.defragment && (space.Full || time.Since(k.defragmented) > defragAgain) {
		k.defragmented = time.Now()
		k.Log.Info("defragmenting this machine's etcd member", "file_bytes", space.FileBytes, "live_bytes", space.LiveBytes)
		if err := k.Member.etcd.Server.Defragment(); err != nil {
			return fmt.Errorf("defragment etcd: %w", err)
		}
		return nil
	}
	if do.reopen {
		return k.reopen(ctx)
	}
	return nil
}

func (k *Keeper) note(now Space) {
	k.mu.Lock()
	before := k.space
	k.space = now
	k.mu.Unlock()
	switch {
	case now.level() > before.level():
		k.Log.Warn("etcd runs out of room", "notice", now.Notice(), "file_bytes", now.FileBytes, "live_bytes", now.LiveBytes, "quota_bytes", now.QuotaBytes)
	case now.level() < before.level():
		k.Log.Info("etcd has more room again", "file_bytes", now.FileBytes, "quota_bytes", now.QuotaBytes)
	}
}

// turn says whether this member may defragment now. It goes by the clock: when
// etcd is full, nothing else can be agreed on.
func (k *Keeper) turn(now time.Time) bool {
	var ids []uint64
	for _, m := range k.Member.etcd.Server.Cluster().Members() {
		ids = append(ids, uint64(m.ID))
	}
	slices.Sort(ids)
	slot := int(now.Unix()/int64(defragTurn.Seconds())) % max(len(ids), 1)
	begun := now.Unix() % int64(defragTurn.Seconds())
	return len(ids) == 1 || slot < len(ids) && ids[slot] == k.Member.ID() && begun < int64(defragTurn.Seconds())/2
}

func (k *Keeper) compact(ctx context.Context) error {
	status, err := k.Connection.Client.Status(ctx, "")
	if err != nil {
		return fmt.Errorf("compact etcd: %w", err)
	}
	_, err = k.Connection.Client.Compact(ctx, status.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact etcd: %w", err)
	}
	return nil
}

// reopen takes back that this member is full, and that one was which is no
// member any more.
func (k *Keeper) reopen(ctx context.Context) error {
	members := map[uint64]bool{}
	for _, m := range k.Member.etcd.Server.Cluster().Members() {
		members[uint64(m.ID)] = true
	}
	for _, alarm := range k.Member.etcd.Server.Alarms() {
		if alarm.Alarm != etcdserverpb.AlarmType_NOSPACE || alarm.MemberID != k.Member.ID() && members[alarm.MemberID] {
			continue
		}
		if _, err := k.Connection.Client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: alarm.MemberID, Alarm: alarm.Alarm}); err != nil {
			return fmt.Errorf("let etcd be written to again: %w", err)
		}
		k.Log.Info("etcd has room again and may be written to", "member", alarm.MemberID)
	}
	return nil
}

// space asks the member in this process, or each member of an outside etcd.
func (c *Connection) space(ctx context.Context) (Space, error) {
	endpoints := c.Client.Endpoints()
	if len(endpoints) == 0 {
		endpoints = []string{""}
	}
	var most Space
	var failed error
	seen := false
	for _, e := range endpoints {
		status, err := c.Client.Status(ctx, e)
		if err != nil {
			failed = fmt.Errorf("read etcd's size: %w", err)
			continue
		}
		seen = true
		full := slices.ContainsFunc(status.Errors, func(alarm string) bool { return strings.Contains(alarm, etcdserverpb.AlarmType_NOSPACE.String()) })
		if one := (Space{status.DbSize, status.DbSizeInUse, status.DbSizeQuota, full}); one.percent() >= most.percent() {
			one.Full = one.Full || most.Full
			most = one
		}
	}
	if !seen {
		return Space{}, failed
	}
	return most, nil
}
