package gate

import (
	"context"
	"errors"
	"io"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/status"
)

// watches is etcd's Watch service, within each machine's rights. Each stream of
// a client has one of its own behind the gate, so that progress and the numbers of
// watches mean the same on both sides.
type watches struct {
	etcdserverpb.UnimplementedWatchServer
	gate *Gate
}

func (w *watches) Watch(stream etcdserverpb.Watch_WatchServer) error {
	ctx, cancel := context.WithCancel(onward(stream.Context()))
	defer cancel()
	behind, err := w.gate.config.Backend.Watch.Watch(ctx)
	if err != nil {
		return err
	}
	relay := &relay{gate: w.gate, client: clientOf(stream.Context()), front: stream, behind: behind}
	asked, told := make(chan error, 1), make(chan error, 1)
	go func() { asked <- relay.requests() }() // ends with the stream, after this returns
	go func() { told <- relay.responses() }()
	select {
	case err = <-asked:
		cancel()
		<-told
	case err = <-told:
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// relay passes one watch stream on, both ways.
type relay struct {
	gate   *Gate
	client client
	front  etcdserverpb.Watch_WatchServer
	behind etcdserverpb.Watch_WatchClient
	open   int // watches asked for and not cancelled

	sending sync.Mutex // refusals and responses both go to front
}

func (r *relay) send(resp *etcdserverpb.WatchResponse) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	return r.front.Send(resp)
}

func (r *relay) responses() error {
	for {
		resp, err := r.behind.Recv()
		if err != nil {
			return err
		}
		if err := r.send(resp); err != nil {
			return err
		}
	}
}

func (r *relay) requests() error {
	for {
		request, err := r.front.Recv()
		if err != nil {
			return err
		}
		if refusal := r.check(request); refusal != nil {
			if err := r.send(refused(refusal)); err != nil {
				return err
			}
			continue
		}
		if err := r.behind.Send(request); err != nil {
			return err
		}
	}
}

// check returns why a request isn't passed on. It keeps count of watches.
func (r *relay) check(request *etcdserverpb.WatchRequest) error {
	if cancel := request.GetCancelRequest(); cancel != nil {
		r.open = max(r.open-1, 0)
		return nil
	}
	create := request.GetCreateRequest()
	if create == nil {
		return nil
	}
	if !r.client.rights.mayRead(create.GetKey(), create.GetRangeEnd()) {
		return r.gate.refuse(r.client, "watch %s", span(create.GetKey(), create.GetRangeEnd()))
	}
	if r.open >= watchesMax {
		return r.gate.refuse(r.client, "have more than %d watches on a stream", watchesMax)
	}
	r.open++
	return nil
}

// refused is how etcd tells of a watch that it doesn't make.
func refused(why error) *etcdserverpb.WatchResponse {
	return &etcdserverpb.WatchResponse{
		Header:       &etcdserverpb.ResponseHeader{},
		WatchId:      clientv3.InvalidWatchID,
		Created:      true,
		Canceled:     true,
		CancelReason: status.Convert(why).Message(),
	}
}
