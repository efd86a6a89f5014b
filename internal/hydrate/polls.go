package hydrate

import (
	"time"

	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// polled is a poll that has found no newer transaction than txid.
type polled struct {
	txid ltx.TXID
	at   int64 // see pageshare.Now
}

// Polled tells the processes that share the local file that the replica had no
// newer transaction than txid at a time.
func (h *Hydrator) Polled(txid ltx.TXID, at time.Time) {
	h.polled.Store(&polled{txid, pageshare.Now() - int64(time.Since(at))})
	h.tellPolled()
}

// tellPolled puts the last poll into the table of the local file, once that has the
// view that it has found.
func (h *Hydrator) tellPolled() {
	if l, p := h.local(), h.polled.Load(); l != nil && p != nil {
		l.share.Load().Polled(p.txid, p.at)
	}
}

// IsNewest reports whether the process that owns the local file has found, within
// a time, that the replica has no newer transaction than a view, and when.
func (h *Hydrator) IsNewest(v *view.View, within time.Duration) (at time.Time, ok bool) {
	l := h.Tier.lent.Load()
	if l == nil {
		return at, false
	}
	common := l.common.Load()
	s, ok := l.table.Status()
	if !ok || common == nil || common.epoch != v.Epoch || common.generation != s.Generation ||
		common.upTo != v.TXID || s.TXID != v.TXID || s.State != pageshare.InUse || s.Polled == 0 {
		return at, false
	}
	age := time.Duration(pageshare.Now() - s.Polled)
	return time.Now().Add(-age), age >= 0 && age <= within
}

// tellUse tells the owner of the local file that this process has run a
// transaction just now, so that it goes on to poll.
func (h *Hydrator) tellUse(l *lentPages) {
	if h.LastUse != nil && time.Since(h.LastUse()) < 2*lookEvery {
		l.table.Use()
	}
}
