package etcd

import (
	"context"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/clusterd/clusterd/registry"
)

// etcd counts all keys of a range that is read with a limit, and whoever
// writes waits for that. So a list asks for parts that are about as large as what is
// read of them: what a part had beyond its limit is split by how its keys go on.
const (
	listFirst    = 512     // keys that the first request may bring, when nothing is known yet
	listKeys     = 4096    // keys that any other may bring
	listBytes    = 1 << 20 // and bytes, as far as what came before lets on
	listInFlight = 4
	listAhead    = 8 // parts asked for, or read and not yet handed over
)

// List is registry.Records'. Small ranges take one request.
func (s *Store) List(ctx context.Context, r registry.Range, how registry.Listing, each func(registry.Part)) error {
	ctx, cancel := context.WithCancel(ctx)
	l := &list{store: s, how: how, each: each, revision: how.At, limit: listFirst, read: make(chan *listed)}
	for _, part := range r.Cut() {
		l.parts = append(l.parts, &listed{span: part})
	}
	defer func() {
		cancel()
		for ; l.flying > 0; l.flying-- {
			<-l.read
		}
	}()
	return l.run(ctx)
}

// list is a range being listed. parts are what is left of it, sorted.
type list struct {
	store    *Store
	how      registry.Listing
	each     func(registry.Part)
	revision registry.Revision // 0 until the first answer
	limit    int64
	keys     int64 // read so far
	bytes    int64
	parts    []*listed
	flying   int
	read     chan *listed
}

// listed is a part that is asked for, or was.
type listed struct {
	span  registry.Range
	whole bool // small enough to be read without a limit
	asked bool
	taken bool // its answer was looked at; before, resp and err are another goroutine's
	resp  *clientv3.GetResponse
	err   error
}

func (l *list) run(ctx context.Context) error {
	for len(l.parts) > 0 {
		l.ask(ctx)
		part := <-l.read
		part.taken = true
		l.flying--
		if part.err != nil {
			return part.err
		}
		if l.revision == 0 {
			l.revision = registry.Revision(part.resp.Header.Revision)
		}
		l.split(part)
		for len(l.parts) > 0 && l.parts[0].taken {
			done := l.parts[0]
			l.parts = l.parts[1:]
			l.each(l.part(done))
		}
	}
	return nil
}

// ask starts requests for the first parts that aren't asked for yet. The first
// of all is alone: its answer says as of when the others are.
func (l *list) ask(ctx context.Context) {
	ahead := 0
	for i, part := range l.parts {
		if part.asked {
			ahead++
			continue
		}
		if i > 0 && (l.flying >= listInFlight || ahead >= listAhead || l.revision == 0) {
			return
		}
		part.asked = true
		ahead++
		l.flying++
		limit, revision := l.limit, l.revision
		if part.whole {
			limit = 0
		}
		go func() {
			part.resp, part.err = l.store.readPart(ctx, part.span, limit, revision, l.how.KeysOnly)
			l.read <- part
		}()
	}
}

// split puts what a request left of its part behind it.
func (l *list) split(part *listed) {
	kvs := part.resp.Kvs
	for _, kv := range kvs {
		l.bytes += int64(len(kv.Key) + len(kv.Value))
	}
	l.keys += int64(len(kvs))
	if l.keys > 0 {
		l.limit = max(min(listKeys, listBytes*l.keys/max(l.bytes, 1)), 16)
	}
	if !part.resp.More || len(kvs) == 0 {
		return
	}
	first, last := l.store.key(kvs[0].Key), l.store.key(kvs[len(kvs)-1].Key)
	rest := registry.Range{From: last + "\x00", To: part.span.To}
	part.span.To = rest.From
	var more []*listed
	if part.resp.Count-int64(len(kvs)) <= 2*l.limit {
		more = []*listed{{span: rest, whole: true}}
	} else {
		whole := registry.Range{From: part.span.From, To: rest.To}
		for _, r := range whole.SplitAfter(first, last) {
			more = append(more, &listed{span: r})
		}
	}
	l.parts = slices.Insert(l.parts, slices.Index(l.parts, part)+1, more...)
}

func (l *list) part(done *listed) registry.Part {
	p := registry.Part{Range: done.span, Revision: l.revision, Last: len(l.parts) == 0}
	p.Records = make([]registry.Record, len(done.resp.Kvs))
	for i, kv := range done.resp.Kvs {
		p.Records[i] = l.store.record(kv)
	}
	return p
}

// readPart is one request of a list. A limit of 0 is none, a revision of 0 now.
func (s *Store) readPart(ctx context.Context, r registry.Range, limit int64, at registry.Revision, keysOnly bool) (*clientv3.GetResponse, error) {
	c := s.begin(ctx)
	defer c.cancel()
	key, end := s.bounds(r)
	opts := []clientv3.OpOption{clientv3.WithLimit(limit), clientv3.WithRev(int64(at))}
	if end != "" {
		opts = append(opts, clientv3.WithRange(end))
	}
	if keysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	resp, err := s.conn.Client.Get(c, key, opts...)
	if err != nil {
		return nil, c.failed("list "+name(r), err)
	}
	return resp, nil
}
