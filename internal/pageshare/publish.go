package pageshare

import (
	"runtime"

	"github.com/superfly/ltx"
)

// Publish says which view the file has the pages of. The owner calls it after it
// has made the pages absent that the view has in other versions.
func (t *Table) Publish(p Published) {
	_ = t.write(func(h *head) {
		h.turn.Add(1)
		h.settled.Store(0) // until Note; Status reads it after the transaction
		h.txid.Store(uint64(p.TXID))
		h.markAt.Store(uint64(p.MarkAt))
		h.total.Store(uint64(p.Total))
		n := min(len(p.Anchors), MaxAnchors)
		for i, a := range p.Anchors[:n] {
			for k, x := range [...]uint64{uint64(a.Level), uint64(a.MinTXID), uint64(a.MaxTXID), uint64(a.Size), uint64(a.Checksum)} {
				h.anchor[i][k].Store(x)
			}
		}
		h.anchors.Store(uint64(n))
		h.state.CompareAndSwap(uint64(Beginning), uint64(InUse))
		h.turn.Add(1)
	})
}

// Moved says where the mark of the file of pages is now.
func (t *Table) Moved(markAt int64) { _ = t.write(func(h *head) { h.markAt.Store(uint64(markAt)) }) }

// Note tells borrowers how far the copy has come.
func (t *Table) Note(p Progress) {
	_ = t.write(func(h *head) {
		h.pages.Store(uint64(p.Pages))
		h.total.Store(uint64(p.Total))
		settled := uint64(0)
		if p.Settled {
			settled = 1
		}
		h.settled.Store(settled)
	})
}

// Beat says that the owner runs, and returns the state of the table, and when a
// transaction of any process last ran.
func (t *Table) Beat() (s State, used int64) {
	_ = t.write(func(h *head) {
		h.beat.Store(uint64(Now()))
		s, used = State(h.state.Load()), int64(h.used.Load())
	})
	return s, used
}

// Polled says that the replica had no newer transaction than txid at a time.
func (t *Table) Polled(txid ltx.TXID, at int64) {
	_ = t.write(func(h *head) {
		if h.txid.Load() == uint64(txid) {
			h.polled.Store(uint64(at))
		}
	})
}

// NoteWrong says that pages which were there may have been wrong. Borrowers forget
// what they have read.
func (t *Table) NoteWrong() { _ = t.write(func(h *head) { h.wrong.Add(1) }) }

// Use says that a transaction of this process runs.
func (t *Table) Use() { t.change(func(h *head) { h.used.Store(uint64(Now())) }) }

// Abandon ends the use of the table by all processes. The file of pages has been
// replaced, or is about to be.
func (t *Table) Abandon() { t.change(func(h *head) { h.state.Store(uint64(Abandoned)) }) }

// Status is the state of a table at a moment.
type Status struct {
	State      State
	Generation uint64
	PageSize   uint32
	Owner      int
	Beat       int64 // when the owner last ran, see Now
	TXID       ltx.TXID
	Polled     int64 // when the owner last knew that no newer transaction exists; 0: never
	Progress   Progress
	Wrong      uint64 // how often pages have turned out to be wrong that were there
	Turn       uint64 // changes with the anchors
}

// Status returns the state of the table. It reports false if the table cannot be
// read any more.
func (t *Table) Status() (s Status, ok bool) {
	if t == nil {
		return s, false
	}
	ok = t.guard(func(h *head) {
		s = Status{
			State: State(h.state.Load()), Generation: h.generation.Load(), PageSize: uint32(h.pageSize.Load()),
			Owner: int(h.owner.Load()), Beat: int64(h.beat.Load()),
			TXID: ltx.TXID(h.txid.Load()), Polled: int64(h.polled.Load()),
			Progress: Progress{int64(h.pages.Load()), int64(h.total.Load()), h.settled.Load() == 1},
			Wrong:    h.wrong.Load(),
			Turn:     h.turn.Load(),
		}
	})
	return s, ok && !t.closed.Load()
}

// Anchors returns the anchors of the owner, with the generation that they are
// of. It reports false if they are being changed, or the owner has ended while it
// changed them.
//
// The owner changes the state before it begins a generation, and changes it back
// after it has published anchors. So a table that is in use after its generation
// was read has no anchors of the generation before.
func (t *Table) Anchors() (all []Anchor, generation, turn uint64, ok bool) {
	for range 100 {
		same := false
		read := t.guard(func(h *head) {
			generation, turn = h.generation.Load(), h.turn.Load()
			all = all[:0]
			for i := range min(h.anchors.Load(), MaxAnchors) {
				a := &h.anchor[i]
				all = append(all, Anchor{int(a[0].Load()), ltx.TXID(a[1].Load()), ltx.TXID(a[2].Load()), int64(a[3].Load()), ltx.Checksum(a[4].Load())})
			}
			same = turn%2 == 0 && State(h.state.Load()) == InUse && h.turn.Load() == turn && h.generation.Load() == generation
		})
		if read && same {
			return all, generation, turn, true
		}
		runtime.Gosched()
	}
	return nil, 0, 0, false
}

// Elect locks the table, so that one process only puts another file in the place
// of one whose owner has stopped. It returns false if another process has the
// lock. Close ends it.
func (t *Table) Elect() bool { return lockFile(t.f) == nil }

// EndElection unlocks the table.
func (t *Table) EndElection() { _ = unlockFile(t.f) }
