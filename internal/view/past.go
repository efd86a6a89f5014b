package view

import (
	"sync"
	"weak"

	"github.com/superfly/ltx"
)

// Past caches the views that connections have travelled to, while at least
// one connection holds them. Connections that travel to the same transaction
// share one view. It is safe for concurrent use.
type Past struct {
	mu struct {
		sync.Mutex
		byTXID map[ltx.TXID]weak.Pointer[View]
	}
}

// Get returns the view of a transaction, nil if no connection holds it.
func (p *Past) Get(txid ltx.TXID) *View {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.byTXID[txid].Value()
}

// All returns the views that are in use.
func (p *Past) All() (views []*View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.mu.byTXID {
		if v := w.Value(); v != nil {
			views = append(views, v)
		}
	}
	return views
}

// Add stores v and returns it. If another goroutine has added a view of the
// same transaction and epoch meanwhile, Add returns that view.
func (p *Past) Add(v *View) *View {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.byTXID == nil {
		p.mu.byTXID = make(map[ltx.TXID]weak.Pointer[View])
	}
	for txid, w := range p.mu.byTXID {
		if w.Value() == nil {
			delete(p.mu.byTXID, txid)
		}
	}
	if known := p.mu.byTXID[v.TXID].Value(); known != nil && known.Epoch == v.Epoch {
		return known
	}
	p.mu.byTXID[v.TXID] = weak.Make(v)
	return v
}
