package gate

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// keys is etcd's KV service, within each machine's rights.
type keys struct {
	etcdserverpb.UnimplementedKVServer
	gate *Gate
}

func (k *keys) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if err := k.mayRange(clientOf(ctx), r); err != nil {
		return nil, err
	}
	return k.gate.config.Backend.KV.Range(onward(ctx), r)
}

func (k *keys) Put(ctx context.Context, r *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	if err := k.mayPut(ctx, clientOf(ctx), r); err != nil {
		return nil, err
	}
	return k.gate.config.Backend.KV.Put(onward(ctx), r)
}

func (k *keys) DeleteRange(ctx context.Context, r *etcdserverpb.DeleteRangeRequest) (*etcdserverpb.DeleteRangeResponse, error) {
	if err := k.mayDelete(clientOf(ctx), r); err != nil {
		return nil, err
	}
	return k.gate.config.Backend.KV.DeleteRange(onward(ctx), r)
}

func (k *keys) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	c := clientOf(ctx)
	for _, guard := range r.GetCompare() {
		if len(guard.GetRangeEnd()) > 0 || !c.rights.mayRead(guard.GetKey(), nil) {
			return nil, k.gate.refuse(c, "compare %s", span(guard.GetKey(), guard.GetRangeEnd()))
		}
	}
	for _, branch := range [][]*etcdserverpb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := k.mayDo(ctx, c, op); err != nil {
				return nil, err
			}
		}
	}
	return k.gate.config.Backend.KV.Txn(onward(ctx), r)
}

func (k *keys) Compact(ctx context.Context, _ *etcdserverpb.CompactionRequest) (*etcdserverpb.CompactionResponse, error) {
	return nil, k.gate.refuse(clientOf(ctx), "compact")
}

func (k *keys) mayDo(ctx context.Context, c client, op *etcdserverpb.RequestOp) error {
	switch {
	case op.GetRequestRange() != nil:
		return k.mayRange(c, op.GetRequestRange())
	case op.GetRequestPut() != nil:
		return k.mayPut(ctx, c, op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return k.mayDelete(c, op.GetRequestDeleteRange())
	}
	return k.gate.refuse(c, "nest transactions")
}

func (k *keys) mayRange(c client, r *etcdserverpb.RangeRequest) error {
	if c.rights.mayRead(r.GetKey(), r.GetRangeEnd()) {
		return nil
	}
	return k.gate.refuse(c, "read %s", span(r.GetKey(), r.GetRangeEnd()))
}

func (k *keys) mayDelete(c client, r *etcdserverpb.DeleteRangeRequest) error {
	if c.rights.mayDelete(r.GetKey(), r.GetRangeEnd()) {
		return nil
	}
	return k.gate.refuse(c, "delete %s", span(r.GetKey(), r.GetRangeEnd()))
}

func (k *keys) mayPut(ctx context.Context, c client, r *etcdserverpb.PutRequest) error {
	switch {
	case r.GetLease() == 0 && !r.GetIgnoreLease():
		if covers(c.rights.write, r.GetKey(), nil) {
			return nil
		}
		if covers(c.rights.leased, r.GetKey(), nil) {
			return k.gate.refuse(c, "write %s without a lease", span(r.GetKey(), nil))
		}
		return k.gate.refuse(c, "write %s", span(r.GetKey(), nil))
	case r.GetIgnoreLease():
		return k.gate.refuse(c, "write %s with whatever lease it has", span(r.GetKey(), nil))
	case !covers(c.rights.leased, r.GetKey(), nil):
		return k.gate.refuse(c, "write %s under a lease", span(r.GetKey(), nil))
	}
	return k.gate.mayUseLease(ctx, c, r.GetLease())
}
