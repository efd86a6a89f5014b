package write

import (
	"cmp"
	"fmt"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// Append writes a commit to the write buffer. Other connections do not see it
// before Finish. If durable is set, the commit survives power loss.
func (q *queue) Append(tx *Transaction, durable bool) (*LocalCommit, error) {
	return q.append(tx, durable, false)
}

// AppendSeveral is Append for a commit of several databases. The commit survives
// power loss, and also the end of write mode: Finish fails then, and the commit is
// kept with those before it, as after a crash.
func (q *queue) AppendSeveral(tx *Transaction) (*LocalCommit, error) {
	return q.append(tx, true, true)
}

func (q *queue) append(tx *Transaction, durable, several bool) (*LocalCommit, error) {
	size, err := tx.commitSize()
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	b := q.mu.buffer
	err = q.mu.check(q.Views, tx.view, b)
	q.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := q.format.learn(); err != nil {
		return nil, err
	}
	c := &LocalCommit{buffer: b, Commit: commitlog.Commit{Size: size, Pgnos: tx.pgnos(size)}}
	c.Timestamp = max(q.Opts.Now().UnixMilli(), tx.view.Timestamp+1)
	err = b.append(&c.Commit, durable,
		func() commitlog.Header {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.mu.header(q.Deps, q.format, tx.pageSize)
		},
		func(i int, p []byte) error { return tx.page(c.Pgnos[i], p) },
		func(s *segment, m mark) error {
			q.mu.Lock()
			defer q.mu.Unlock()
			if err := q.mu.check(q.Views, tx.view, b); err != nil {
				return err // write mode has ended meanwhile
			}
			if s.open == 0 {
				s.unfinished, s.several = m, false
			}
			s.open++
			s.several = s.several || several
			q.mu.appended++
			q.mu.opened = s
			c.segment, c.mark, c.Number = s, m, q.mu.appended
			return nil
		})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// check returns an error if a transaction that changes view v cannot be committed
// to buffer b.
func (s *queueState) check(views *view.Views, v *view.View, b *writeBuffer) error {
	switch {
	case b == nil || s.buffer != b:
		return cmp.Or(s.lost.err, errs.ErrClosed)
	case v.State != views.Newest().State:
		return cmp.Or(s.lost.err, errs.ErrConflict)
	}
	return nil
}

// TakeBack removes from the write buffer commits that were appended and not
// finished. Those of several databases stay if write mode has ended since.
func (q *queue) TakeBack(commits []*LocalCommit) {
	if len(commits) == 0 {
		return
	}
	c := commits[0]
	q.mu.Lock()
	kept := c.segment.several && q.mu.buffer != c.buffer
	c.segment.several = false // nothing of it is kept if write mode ends now
	q.mu.Unlock()
	if !kept {
		c.buffer.undo(c.segment, c.mark)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c.segment.open -= len(commits)
	q.mu.change()
}

// header returns the header of a new segment. The segment follows the newest
// segment, or the current view if there is none.
func (s *queueState) header(deps *Deps, format *pageOneFormat, pageSize uint32) commitlog.Header {
	h := commitlog.Header{Owner: deps.Owner, PageSize: pageSize}
	if n := len(s.segments); n > 0 {
		last := s.segments[n-1]
		h.Format, h.Base, h.Before = last.log.Format, last.txid(), last.log.Sum()
		h.State = commitlog.State{Commit: last.commit, Timestamp: last.newest}
		return h
	}
	cur := deps.Views.Current.Load()
	h.Base = cur.TXID
	if cur.Last != nil {
		h.Format = format.get()
		h.State = stateOf(cur)
	}
	return h
}

// stateOf returns the state of the replica that a view shows, as segments record
// it.
func stateOf(v *view.View) commitlog.State {
	return commitlog.State{
		Commit: v.Commit, Timestamp: v.Timestamp,
		Level: v.Last.Level, MinTXID: v.Last.MinTXID, MaxTXID: v.Last.MaxTXID, Checksum: v.Last.Checksum,
	}
}

// Finish makes the commits that a connection has appended visible to all
// connections. After an error the caller has to take them back.
func (q *queue) Finish(h SlotHolder, tx *Transaction, commits []*LocalCommit) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.mu.check(q.Views, tx.view, commits[0].buffer); err != nil {
		if commits[0].segment.several {
			err = fmt.Errorf("write mode has ended, and the commit is kept in the write buffer: %w", err)
		}
		return err // the caller takes them back
	}
	before := q.Views.Newest()
	v := before
	for _, c := range commits {
		c.segment.open--
		if n := len(q.mu.segments); n == 0 || q.mu.segments[n-1] != c.segment {
			q.mu.segments = append(q.mu.segments, c.segment)
		}
		v = withCommit(v, c)
		c.segment.add(c)
		q.mu.finished = c.Number
		q.mu.counts.Commits++
	}
	if before.PageSize == 0 {
		q.Tiers.Reset(v.PageSize)
	}
	q.Views.CountCommit(before, v, tx.counter, tx.wal)
	q.Views.Local.Store(v)
	h.Pin(v) // before it can be replaced
	q.startSync()
	q.mu.change()
	return nil
}
