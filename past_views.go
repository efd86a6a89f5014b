package litestream

import (
	"sync"
	"weak"

	"github.com/superfly/ltx"
)

// pastViews caches the views that connections have travelled to, while at least
// one connection holds them. Connections that travel to the same transaction
// share one view. It is safe for concurrent use.
type pastViews struct {
	mu     sync.Mutex                      // guards byTXID
	byTXID map[ltx.TXID]weak.Pointer[view] // guarded by mu
}

func (p *pastViews) get(txid ltx.TXID) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byTXID[txid].Value()
}

// all returns the views that are in use.
func (p *pastViews) all() (views []*view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.byTXID {
		if v := w.Value(); v != nil {
			views = append(views, v)
		}
	}
	return views
}

// add stores v and returns it. If another goroutine has added a view of the
// same transaction and epoch meanwhile, add returns that view.
func (p *pastViews) add(v *view) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byTXID == nil {
		p.byTXID = make(map[ltx.TXID]weak.Pointer[view])
	}
	for txid, w := range p.byTXID {
		if w.Value() == nil {
			delete(p.byTXID, txid)
		}
	}
	if known := p.byTXID[v.txid].Value(); known != nil && known.epoch == v.epoch {
		return known
	}
	p.byTXID[v.txid] = weak.Make(v)
	return v
}
