package write

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/jitter"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

const (
	// unfinishedDelay is the time that a sync waits for a commit to be finished.
	unfinishedDelay = time.Millisecond

	// The delay between syncs that fail grows from firstSyncDelay to lastSyncDelay.
	firstSyncDelay = 100 * time.Millisecond
	lastSyncDelay  = 30 * time.Second

	// impatientDelay bounds the delay after an error while a goroutine waits for
	// a sync.
	impatientDelay = time.Second

	// offerPatience is the time that a sync waits for hydration to take its pages.
	offerPatience = 2 * time.Second

	// With SyncOnCommit, a sync waits for the connections that the last one
	// released to commit again. It waits for a part of the time that the last sync
	// took, and for gatherMost at most.
	gatherStep = 500 * time.Microsecond
	gatherPart = 2
	gatherMost = 50 * time.Millisecond
)

// uploader makes LTX files on the replica of the segments of a queue. One goroutine
// uses it at a time, which the queue starts and which ends when no segment is left.
type uploader struct {
	*Deps
	queue     *queue
	inspector *inspector

	// retired are the segments that are on the replica and whose files are still
	// open, because views that connections have pinned may have pages in them.
	retired []*segment
}

// run syncs every SyncInterval until all commits are on the replica.
func (u *uploader) run() {
	delay := u.Opts.SyncInterval
	failed := time.Duration(0) // bound of the delay after an error; 0 if the last sync succeeded
	took := time.Duration(0)   // duration of the last sync
	for {
		u.pause(delay, failed > 0)
		if u.Opts.SyncOnCommit {
			u.gather(took)
		}
		start := time.Now()
		err := u.syncOnce()
		if err == errUnfinished {
			delay = unfinishedDelay
			continue
		}
		took = time.Since(start)
		delay = u.Opts.SyncInterval
		if err != nil {
			failed = min(max(2*failed, firstSyncDelay), lastSyncDelay)
			delay = jitter.Around(failed)
		} else {
			failed = 0
		}
		if u.queue.syncEnded(err) {
			return
		}
	}
}

// pause waits until the next sync is due or a goroutine waits for it. After an
// error, a waiting goroutine shortens the delay to impatientDelay only. A negative
// delay has no end.
func (u *uploader) pause(delay time.Duration, failing bool) {
	start := time.Now()
	timer := time.NewTimer(max(delay, 0))
	defer timer.Stop()
	due := timer.C
	if delay < 0 {
		due = nil
	}
	select {
	case <-due:
		return
	case <-u.Tasks.Context().Done():
		return
	case <-u.queue.kick:
	}
	if failing {
		timer.Reset(min(delay, impatientDelay) - time.Since(start))
		select {
		case <-timer.C:
		case <-u.Tasks.Context().Done():
		}
	}
}

// gather waits until as many goroutines wait for a sync as waited when the last
// one ended. Took is the duration of the last sync.
func (u *uploader) gather(took time.Duration) {
	until := time.Now().Add(min(took/gatherPart, gatherMost))
	for time.Now().Before(until) && !u.queue.allWait() {
		time.Sleep(gatherStep)
	}
}

// errUnfinished means that a commit of the segment is appended and not finished.
var errUnfinished = errors.New("a commit is not finished")

// syncOnce uploads the commits that were finished when it was called.
func (u *uploader) syncOnce() (err error) {
	defer task.Guard(u.Log, "sync", &err)
	var rotated *writeBuffer // buffer whose active segment was ended here
	for {
		s, b, doubtful := u.queue.oldest()
		if s == nil && doubtful {
			return u.inspector.lookAgain()
		}
		if s == nil {
			return nil
		}
		// The newest segment grows while the others are uploaded.
		if b.isActive(s) {
			if rotated == b {
				return nil // the segment was begun after syncOnce was called
			}
			b.rotate(func(active *segment) bool { return active == s && u.queue.isFinished(s) })
			if b.isActive(s) {
				return errUnfinished
			}
			rotated = b
		}
		if !u.queue.isFinished(s) {
			return errUnfinished // the disk has failed, so the segment is not active any more
		}
		if err := u.uploadSegment(s); err != nil {
			return err
		}
	}
}

// uploadSegment uploads the LTX file of a segment and publishes it.
func (u *uploader) uploadSegment(s *segment) error {
	ctx, cancel := u.Tasks.WithTransfer(u.Opts.ReadTimeout, s.bytes)
	defer cancel()
	there := false
	if !u.inspector.isSure() {
		var err error
		if there, err = u.inspector.lookAhead(ctx, s); err != nil {
			return err
		}
	}
	start := time.Now()
	e, info, err := u.create(ctx, s, there)
	if err != nil {
		return err
	}
	if info.Size != e.size {
		return fmt.Errorf("upload %s: the store reports %d bytes, not %d", view.KeyOf(info), info.Size, e.size)
	}
	if err := u.inspector.verify(ctx, s, info); err != nil {
		return err
	}
	u.Log.Debug("synced", "txid", s.txid(), "commits", s.commits, "pages", len(s.pages), "bytes", e.size, "duration", time.Since(start))
	if err := u.publish(s, e, info); err != nil {
		return err
	}
	u.inspector.mender.settle(ctx)
	return nil
}

// create makes the file of a segment. If a file of that name exists, which there
// says or the store answers, it must be the segment's own, from an upload whose
// answer was lost.
func (u *uploader) create(ctx context.Context, s *segment, there bool) (e *encoding, info *ltx.FileInfo, err error) {
	e, err = new(encoding), fs.ErrExist
	if !there {
		info, err = u.Store.Create(ctx, view.Key{Level: 0, MinTXID: s.txid(), MaxTXID: s.txid()}, func(dst io.Writer) error {
			*e = encoding{}
			return e.encode(dst, s)
		})
	}
	if errors.Is(err, fs.ErrExist) {
		*e = encoding{}
		if err := e.encode(discard{ctx}, s); err != nil {
			return nil, nil, err
		}
		info, err = u.inspector.findOwn(ctx, s, e)
	}
	return e, info, err
}

// discard is a writer that drops all bytes. It fails once its context is done.
type discard struct{ ctx context.Context }

func (d discard) Write(p []byte) (int, error) { return len(p), d.ctx.Err() }

// newFile returns the file of a segment for page tables.
func (e *encoding) newFile(s *segment, info *ltx.FileInfo) *view.File {
	f := view.NewFile(info, e.hdr, e.index, e.tail)
	f.SetContent(&ltx.FileInfo{Size: info.Size}, true) // a listing may say another time
	if s.listed != nil && s.listed.Size == info.Size {
		f.SetContent(s.listed, true)
	}
	f.SetChecksum(e.trailer.FileChecksum, e.ends[0], e.ends[1])
	f.IsWhole = true
	return f
}

// publish makes views point to the file of a segment, and gives its pages to the
// tiers.
func (u *uploader) publish(s *segment, e *encoding, info *ltx.FileInfo) error {
	f := e.newFile(s, info)
	epoch, err := u.queue.epochOf(s)
	if err != nil {
		return fmt.Errorf("publish %s: %w", f, err)
	}
	u.Views.Arriving.Add(1)
	defer func() {
		u.Views.Arriving.Add(-1)
		u.Tiers.Notify()
	}()
	u.keepPages(s, epoch) // before a connection looks for them
	next, err := u.publishFile(s, f, e.index)
	if err != nil {
		return err
	}
	defer u.retire(s) // after offerPages has read its pages
	if u.Tiers.TakesOffers() {
		u.offerPages(s, f, next, epoch)
	}
	return nil
}

// publishFile makes views point to the file of a segment. It returns the view that
// it published.
func (u *uploader) publishFile(s *segment, f *view.File, index ltxio.Index) (*view.View, error) {
	next, b, err := u.queue.publish(s, f, index)
	if err != nil {
		return nil, err
	}
	if b != nil {
		if err := b.remove(s.log); err != nil {
			u.Log.Warn("a segment of the write buffer was not removed", "error", err)
		}
	}
	u.queue.published(s.last)
	return next, nil
}

// keepPages puts pages of a segment into the memory cache, so that they need not
// be read from its file.
func (u *uploader) keepPages(s *segment, epoch uint32) {
	budget := u.Opts.CacheSize / 2
	for _, pgno := range s.pgnos() {
		if budget -= int64(s.log.PageSize); budget < 0 {
			break
		}
		page := make([]byte, s.log.PageSize)
		if err := s.read(pgno, page); err != nil {
			break // the page can be read from the replica
		}
		u.Tiers.Keep(pages.Key{Version: s.txid(), Pgno: pgno, Epoch: epoch}, page)
	}
}

// offerPages gives the local file those pages of a segment that view v has in that
// version.
func (u *uploader) offerPages(s *segment, f *view.File, v *view.View, epoch uint32) {
	ctx, cancel := context.WithTimeout(u.Tasks.Context(), offerPatience)
	defer cancel()
	for _, pgno := range s.pgnos() {
		if loc, ok := v.Lookup(pgno); !ok || loc.File != f {
			continue
		}
		page := make([]byte, s.log.PageSize)
		if err := s.read(pgno, page); err != nil {
			return // the page can be read from the replica
		}
		u.Tiers.Offer(ctx, pages.Key{Version: s.txid(), Pgno: pgno, Epoch: epoch}, page)
	}
}

// retire closes the files of segments that are on the replica, once no connection
// has pinned a view with pages in them.
func (u *uploader) retire(s *segment) {
	pinned := u.Pinned()
	var rest []*segment
	for _, s := range append(u.retired, s) {
		if isUsed(s, pinned) {
			rest = append(rest, s)
		} else {
			_ = s.log.Close() // it was only read since the last sync
		}
	}
	u.retired = rest
}

// isUsed reports whether any of the views has pages in a segment.
func isUsed(s *segment, views []*view.View) (used bool) {
	for _, v := range views {
		if v.Base != nil {
			v.EachSource(func(src view.Source, _ int) { used = used || src.File == s.file })
		}
	}
	return used
}
