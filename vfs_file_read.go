package litestream

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// ReadAt reads from the pinned view and from the changes of this connection. At the
// end of the file it returns the bytes before the end, and io.EOF.
func (c *Conn) ReadAt(p []byte, off int64) (n int, err error) {
	defer task.Guard(c.log, "read", &err)
	if off < 0 {
		return 0, c.fail("read", fmt.Errorf("negative offset %d", off))
	}
	v := c.view()
	n, err = c.readAt(v, p, off)
	if c.beginsAnew(v, err) {
		n, err = c.readAt(c.view(), p, off)
	}
	if err != nil && err != io.EOF {
		return n, c.fail("read", err)
	}
	c.told = true
	return n, err
}

// beginsAnew reports whether a read that has failed is to be tried with another view,
// which it pins in a transaction. The files of the view are deleted, the failed read has
// noticed it, and SQLite knows nothing of the view yet.
func (c *Conn) beginsAnew(v *view.View, err error) bool {
	if !errors.Is(err, errs.ErrStateGone) || c.state != connIdle && (c.told || c.state != connReading) {
		return false
	}
	if c.state == connReading {
		c.pinNewest()
	}
	return c.view() != v
}

// readAt implements ReadAt for a view.
func (c *Conn) readAt(v *view.View, p []byte, off int64) (n int, err error) {
	if c.tx.Changes() {
		return c.readChanged(v, p, off)
	}
	if off+int64(len(p)) <= dbheader.Size {
		// SQLite begins every transaction with this read, for the change counter.
		if served := v.State.PageOne.Load(); served != nil {
			return copy(p, served.Header[off:]), nil
		}
	}
	if off >= v.FileSize() {
		return 0, io.EOF
	}
	for n < len(p) && off < v.FileSize() {
		m, err := c.readPage(v, p[n:], off)
		if err != nil {
			return n, err
		}
		n += m
		off += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readChanged implements readAt for a connection that has changed pages.
func (c *Conn) readChanged(v *view.View, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, done, err := c.tx.Read(p[n:], off)
		if !done {
			m, err = c.readPage(v, p[n:], off)
		}
		if err != nil {
			return n, err
		}
		n += m
		off += int64(m)
	}
	return n, nil
}

// readPage fills p from the page that holds offset off, to its end at most.
func (c *Conn) readPage(v *view.View, p []byte, off int64) (int, error) {
	pageSize := int64(v.PageSize)
	pgno, in := uint32(off/pageSize)+1, off%pageSize
	whole := in == 0 && int64(len(p)) >= pageSize
	if v.Base != nil {
		if n, done, err := c.readCommitted(v, pgno, p, in); done {
			return n, err
		}
	}
	if whole && c.db.pages.ReadLocal(v, pgno, p[:pageSize]) {
		return c.servedLocally(v, pgno, p[:pageSize])
	}
	found, ok := c.db.pages.Known(v, pgno)
	defer c.db.pages.Release(found)
	page := found.Page
	switch {
	case ok && page != nil && whole:
		c.predictor.Hit(v, pgno, page, found.Cached)
	case !ok:
		var news func()
		if whole {
			c.predictor.Miss(v, pgno)
			news = c.predictor.Waiting()
		}
		var err error
		if page, err = c.fetchPage(v, pgno, news); err != nil {
			return 0, err
		}
		if whole && page != nil {
			c.predictor.Fetched(v, pgno, page)
		}
	}
	if page == nil {
		n := min(int64(len(p)), pageSize-in)
		clear(p[:n])
		return int(n), nil
	}
	if int64(len(page)) != pageSize {
		return 0, fmt.Errorf("page %d has %d bytes, not %d", pgno, len(page), pageSize)
	}
	n := copy(p, page[in:])
	if pgno == 1 {
		served, err := servedOf(v, page, v.CookieShift())
		if err != nil {
			return 0, err
		}
		served.Put(p[:n], in, pageSize)
	}
	return n, nil
}

// fetchPage reads a page from storage. It calls news, if that is not nil, when other
// pages arrive meanwhile. If the page was deleted under commits that are not on the
// replica, because the replica went on without them, the next transaction sees what
// became of these.
func (c *Conn) fetchPage(v *view.View, pgno uint32, news func()) ([]byte, error) {
	ctx, cancel := c.waiting(c.db.opts.ReadTimeout)
	defer cancel()
	page, err := c.db.pages.PageAmid(ctx, v, pgno, news)
	err = causeOf(ctx, err)
	if errors.Is(err, errs.ErrWriting) && v.Base != nil && len(c.appended) == 0 { // a sync would wait for an appended one
		c.db.makeWay(ctx)
	}
	if err == nil || c.isOfDatabase(err, v, pgno) {
		c.db.reads.Note(err)
	}
	return page, err
}

// isOfDatabase reports whether the error of a read of a page of a view says something of
// the reads of other connections. That a file of the past cannot be read concerns those
// that look at it. So does a state that is gone, unless the newest one has that version
// of the page, too.
func (c *Conn) isOfDatabase(err error, v *view.View, pgno uint32) bool {
	switch {
	case errors.Is(err, ErrInterrupted), errors.Is(err, ErrClosed), c.past.Load() != nil:
		return false
	case errors.Is(err, errs.ErrStateGone):
		newest := c.db.Newest()
		has, ok := newest.Lookup(pgno)
		had, _ := v.Lookup(pgno)
		return ok && newest.Epoch == v.Epoch && has.Version == had.Version
	}
	return true
}

// servedLocally finishes the read of a page that came from the local file.
func (c *Conn) servedLocally(v *view.View, pgno uint32, page []byte) (int, error) {
	if pages := c.db.pages; !pages.IsAllLocal() {
		// The next page may be remote. This one belongs to SQLite and is not kept.
		if _, ok := v.Lookup(pgno); ok {
			pages.Learn(pgno, page)
		}
		c.predictor.Hit(v, pgno, page, true)
	}
	if pgno == 1 {
		served, err := servedOf(v, page, v.CookieShift())
		if err != nil {
			return 0, err
		}
		served.Put(page, 0, int64(len(page)))
	}
	return len(page), nil
}

// servedOf returns the differences between page 1 as served and page, which is as
// stored. One of them is the schema cookie, which is higher by shift.
func servedOf(v *view.View, page []byte, shift uint32) (*dbheader.Served, error) {
	if served := v.State.PageOne.Load(); served != nil {
		return served, nil
	}
	if _, err := dbheader.Check(page, v.PageSize); err != nil {
		return nil, fmt.Errorf("page 1 as of transaction %s: %w", v.TXID, err)
	}
	number := v.State.Counter.Load()
	served := dbheader.Serve(page, number, v.Commit, shift)
	v.State.PageOne.Store(served)
	if v.State.Counter.Load() != number {
		v.State.PageOne.Store(nil) // the state was given another counter meanwhile
	}
	return served, nil
}

// readCommitted implements readPage for a page in the write buffer. It reports in
// done whether the page is there.
func (c *Conn) readCommitted(v *view.View, pgno uint32, p []byte, in int64) (n int, done bool, err error) {
	loc, ok := v.Lookup(pgno)
	if !ok || loc.File.Segment == nil {
		return 0, false, nil
	}
	page := p
	if in != 0 || int64(len(p)) < int64(v.PageSize) {
		page = make([]byte, v.PageSize)
	}
	page = page[:v.PageSize]
	if err := loc.ReadSegment(pgno, page); err != nil {
		if next := c.view(); next != v && errors.Is(err, fs.ErrClosed) {
			n, err := c.readPage(next, p, in+int64(pgno-1)*int64(next.PageSize)) // no view was pinned
			return n, true, err
		}
		return 0, true, err
	}
	if in == 0 && len(p) >= len(page) {
		c.predictor.Hit(v, pgno, page, true)
	}
	if pgno == 1 {
		served, err := servedOf(v, page, 0) // SQLite wrote what it was served
		if err != nil {
			return 0, true, err
		}
		served.Put(page, 0, int64(len(page)))
	}
	if in == 0 && len(p) >= len(page) {
		return len(page), true, nil
	}
	return copy(p, page[in:]), true, nil
}
