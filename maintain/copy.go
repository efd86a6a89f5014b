package maintain

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// CopyOptions are the options of Copy.
type CopyOptions struct {
	Requests

	// Watch makes Copy go on with what is new, until an error ends it. Nil means
	// that it copies once.
	Watch *Watch
}

// Copied says what was copied.
type Copied struct {
	Files  int      `json:"files"`            // LTX files that were copied
	Bytes  int64    `json:"bytes"`            // their size
	There  int      `json:"there"`            // LTX files that were there before
	Inside int64    `json:"inside,omitempty"` // bytes that the store copied by itself
	Newest ltx.TXID `json:"newest"`
}

// Copy copies the LTX files of a replica that another place lacks, with their
// levels, transactions and timestamps. The checksum of each file is compared before
// it appears at the other place. What is there already is compared by size and
// checksum, and not read as a whole. Files of other transactions stay.
//
// After an error, the other place has some of the files. The next call copies the
// rest. Snapshots come first and level 0 last, so that what is there gives states
// of the replica, but until Copy returns nil, transactions in between may be
// missing.
//
// Copy changes nothing, and the error wraps ErrConflict of package litestream, if
// the other place is of another history: a file of the same name has other content,
// the same transaction has another time, or a later transaction is there. If no two
// files end with the same transaction, only their pages can show that: Copy compares
// which pages the newest file at the other place has with those of the file that
// holds its transactions. It is fs.ErrExist if something else lies there that a
// replica must not be mixed with.
func Copy(ctx context.Context, from, to replica.Client, opts CopyOptions) (*Copied, error) {
	c := newCopier(from, to, opts.Requests)
	result, err := c.run(ctx)
	if err == nil && opts.Watch != nil {
		err = c.watch(ctx, *opts.Watch, result)
	}
	if err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	return result, nil
}

// copier copies files from one replica to another. One goroutine calls its methods.
type copier struct {
	from, to *session
	inside   bool         // the store may copy large files by itself
	byStore  atomic.Int64 // bytes that it has copied so

	// The following are of the runs so far. A file in same was found to be, or was
	// made, the same at both places.
	same   map[view.Key]view.Listing
	newest ltx.TXID // the newest transaction that was copied, 0 before the first run
	theirs ltx.TXID // the newest transaction at the other place before the last run
}

// newCopier returns a copier that tells of what it has read.
func newCopier(from, to replica.Client, req Requests) *copier {
	c := &copier{from: newSession(from, req), same: make(map[view.Key]view.Listing)}
	req.Progress = nil
	c.to = newSession(to, req)
	return c
}

func (c *copier) run(ctx context.Context) (*Copied, error) {
	result := new(Copied)
	for attempt := 1; ; attempt++ {
		// The other place is listed first: what another copy adds there after that does
		// not look later than the source.
		there, err := c.to.list(ctx)
		if err != nil {
			return nil, err
		}
		c.theirs = newestOf(there)
		files, err := c.listSource(ctx, c.theirs)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, c.from.nothing(ctx)
		}
		todo, err := c.missing(ctx, files, there)
		if err == nil {
			if attempt == 1 {
				result.There = len(files) - len(todo)
			}
			result.Newest = newestOf(files)
			err = c.copyAll(ctx, todo, result)
		}
		// Compaction may have replaced files by others since they were listed.
		if err != nil && isGone(err) && attempt < listings {
			continue
		}
		if err == nil {
			c.newest = result.Newest
			clear(c.same)
			for _, f := range files {
				c.same[view.KeyOf(f)] = view.ListingOf(f)
			}
		}
		return result, err
	}
}

// isSame reports whether an earlier run has compared or copied a file as it is
// listed now.
func (c *copier) isSame(f *ltx.FileInfo) bool {
	listed, ok := c.same[view.KeyOf(f)]
	return ok && listed.Is(view.ListingOf(f))
}

// newestOf returns the newest transaction of files, 0 if there are none.
func newestOf(files []*ltx.FileInfo) (txid ltx.TXID) {
	for _, f := range files {
		txid = max(txid, f.MaxTXID)
	}
	return txid
}

// listSource lists the source. One listing may miss the newest transaction, if its file
// is replaced by a compacted one meanwhile, so listSource looks again if a transaction is
// missing that was there before.
func (c *copier) listSource(ctx context.Context, before ltx.TXID) (files []*ltx.FileInfo, err error) {
	for range listings {
		if files, err = c.from.list(ctx); err != nil || newestOf(files) >= before {
			break
		}
	}
	return files, err
}

// missing returns the files that the other place lacks, which has the listed ones.
func (c *copier) missing(ctx context.Context, files, listed []*ltx.FileInfo) (todo []*ltx.FileInfo, err error) {
	if len(listed) == 0 {
		return files, c.to.checkVacant(ctx)
	}
	if err := c.checkHistory(ctx, files, listed); err != nil {
		return nil, err
	}
	there := make(map[view.Key]*ltx.FileInfo, len(listed))
	for _, f := range listed {
		there[view.KeyOf(f)] = f
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.from.concurrency)
	for _, f := range files {
		other := there[view.KeyOf(f)]
		switch {
		case other == nil:
			todo = append(todo, f)
			continue
		case c.isSame(f):
			continue
		}
		g.Go(func() error { return c.compare(gctx, f, other) })
	}
	return todo, g.Wait()
}

// checkHistory returns ErrConflict if the files at the other place show that they
// are of another history: they have a later transaction, or the last transaction
// that both places have a file for has another timestamp, or the newest file there
// has pages that the file which holds its transactions here lacks.
func (c *copier) checkHistory(ctx context.Context, files, listed []*ltx.FileInfo) error {
	if ours, theirs := newestOf(files), newestOf(listed); theirs > ours {
		return fmt.Errorf("%w: transaction %s is there, and the newest to be copied is %s", errs.ErrConflict, theirs, ours)
	}
	ends := make(map[ltx.TXID]*ltx.FileInfo)
	for _, f := range files {
		if f.Level != replica.SnapshotLevel { // which has the time of its creation
			ends[f.MaxTXID] = f
		}
	}
	var ours, theirs *ltx.FileInfo
	for _, f := range listed {
		if common := ends[f.MaxTXID]; common != nil && f.Level != replica.SnapshotLevel && (ours == nil || common.MaxTXID > ours.MaxTXID) {
			ours, theirs = common, f
		}
	}
	if err := c.checkPages(ctx, files, listed); err != nil || ours == nil {
		return err
	}
	want, err := c.from.header(ctx, ours)
	if err != nil {
		return err
	}
	got, err := c.to.header(ctx, theirs)
	if err != nil {
		return err
	}
	if want.Timestamp != got.Timestamp || want.Commit != got.Commit || want.PageSize != got.PageSize {
		return fmt.Errorf("%w: transaction %s is there with another time or size, %s of %d pages instead of %s of %d", errs.ErrConflict, ours.MaxTXID,
			formatStamp(got.Timestamp), got.Commit, formatStamp(want.Timestamp), want.Commit)
	}
	return nil
}

// checkPages returns ErrConflict if no file ends with the newest transaction at the
// other place, and the one that holds it lacks pages that this transaction has
// changed.
func (c *copier) checkPages(ctx context.Context, files, listed []*ltx.FileInfo) error {
	newest := newestOf(listed)
	ends := func(f *ltx.FileInfo) bool { return f.MaxTXID == newest }
	last := smallest(listed, ends)
	if last == nil || smallest(files, ends) != nil {
		return nil
	}
	holds := smallest(files, func(f *ltx.FileInfo) bool { return f.MinTXID <= last.MinTXID && f.MaxTXID > last.MaxTXID })
	if holds == nil {
		return nil
	}
	theirs, err := c.to.open(ctx, last, wholeSize)
	if err != nil {
		return fileError(last, err)
	}
	ours, err := c.from.open(ctx, holds, wholeSize)
	if err != nil {
		return fileError(holds, err)
	}
	has := view.NewBitmap(ours.header.Commit)
	ours.index.Each(func(e ltxio.Entry) bool { has.Set(e.Pgno); return true })
	theirs.index.Each(func(e ltxio.Entry) bool {
		if e.Pgno <= ours.header.Commit && !has.Has(e.Pgno) {
			err = fmt.Errorf("%w: %s is there and changes page %d, but %s, which holds the same transactions, does not",
				errs.ErrConflict, view.KeyOf(last), e.Pgno, view.KeyOf(holds))
		}
		return err == nil
	})
	return err
}

// smallest returns the smallest of the files that are no snapshots and that match,
// nil if there are none.
func smallest(files []*ltx.FileInfo, match func(*ltx.FileInfo) bool) (found *ltx.FileInfo) {
	for _, f := range files {
		if f.Level != replica.SnapshotLevel && match(f) && (found == nil || f.Size < found.Size) {
			found = f
		}
	}
	return found
}

// compare compares a file with the one of the same name at the other place.
func (c *copier) compare(ctx context.Context, f, other *ltx.FileInfo) error {
	conflict := func(what string) error {
		return fmt.Errorf("%w: %s is there with another %s", errs.ErrConflict, view.KeyOf(f), what)
	}
	if f.Size != other.Size {
		return conflict("size")
	}
	want, err := c.from.checksum(ctx, f)
	if isGone(err) {
		return nil // deleted since it was listed
	}
	if err != nil {
		return err
	}
	got, err := c.to.checksum(ctx, other)
	if err == nil && got != want {
		err = conflict("checksum")
	}
	return err
}

// checksum reads the checksum at the end of a file.
func (s *session) checksum(ctx context.Context, info *ltx.FileInfo) (sum ltx.Checksum, err error) {
	err = s.inTurn(ctx, func(ctx context.Context) error {
		sum, err = s.store.Checksum(ctx, info)
		return err
	})
	return sum, err
}

// copyAll copies files: those of higher levels first, small ones of a level at the
// same time, and large ones in parts.
func (c *copier) copyAll(ctx context.Context, files []*ltx.FileInfo, result *Copied) error {
	c.from.progress.expect(files)
	byLevel := slices.SortedStableFunc(slices.Values(files), func(a, b *ltx.FileInfo) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), cmp.Compare(a.MinTXID, b.MinTXID))
	})
	for len(byLevel) > 0 {
		level := byLevel[0].Level
		n := slices.IndexFunc(byLevel, func(f *ltx.FileInfo) bool { return f.Level != level })
		if n < 0 {
			n = len(byLevel)
		}
		if err := c.copyLevel(ctx, byLevel[:n]); err != nil {
			return err
		}
		for _, f := range byLevel[:n] {
			result.Files++
			result.Bytes += f.Size
		}
		byLevel = byLevel[n:]
	}
	return nil
}

func (c *copier) copyLevel(ctx context.Context, files []*ltx.FileInfo) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.from.concurrency)
	var large []*ltx.FileInfo
	for _, f := range files {
		if f.Size > wholeSize {
			large = append(large, f)
			continue
		}
		g.Go(func() error { return c.copyFile(gctx, f) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// One after the other, as the parts of one take all memory that there is.
	for _, f := range large {
		if err := c.copyFile(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// uploads bounds how often an upload is tried.
const uploads = 3

// copyFile copies a file. It appears at the other place if its checksum is right.
func (c *copier) copyFile(ctx context.Context, info *ltx.FileInfo) error {
	f, err := c.from.open(ctx, info, wholeSize)
	if err != nil {
		return fileError(info, err)
	}
	if c.inside && f.body == nil {
		if ok, err := c.copyInside(ctx, info); ok || err != nil {
			return err
		}
	}
	var failed error // of reading; the error of the other place hides it
	u := c.to.startUpload(ctx, view.KeyOf(info))
	for attempt := 1; ; attempt++ {
		_, err = c.to.store.Create(u.ctx, view.KeyOf(info), u.body(func(w io.Writer) error {
			failed = c.stream(ctx, f, w)
			return failed
		}))
		isRead := failed != nil && !errors.Is(failed, io.ErrClosedPipe)
		if err == nil || isRead || errs.IsPermanent(err) || u.ctx.Err() != nil || attempt == uploads {
			break
		}
	}
	err = u.end(err)
	switch {
	case failed != nil && ctx.Err() == nil && !errors.Is(failed, io.ErrClosedPipe):
		return fileError(info, failed)
	case errors.Is(err, fs.ErrExist):
		return c.compareCreated(ctx, info)
	case err != nil:
		return err
	}
	c.from.progress.add(Progress{Files: 1, Bytes: info.Size - f.frames()})
	return nil
}

// copyInside makes the store copy a file by itself. It reports false if the store
// cannot, or has failed, so that the bytes have to pass through this process.
func (c *copier) copyInside(ctx context.Context, info *ltx.FileInfo) (done bool, err error) {
	limited, cancel := c.to.withinUpload(ctx, info.Size)
	defer cancel()
	err = c.to.store.Copy(limited, c.from.store, info)
	switch {
	case err == nil:
		c.byStore.Add(info.Size)
		c.from.progress.add(Progress{Files: 1, Bytes: info.Size})
		return true, nil
	case ctx.Err() != nil || isGone(err):
		return false, err
	case errors.Is(err, fs.ErrExist):
		return true, c.compareCreated(ctx, info)
	}
	c.to.store.Log.Debug("the store does not copy a file by itself", "file", view.KeyOf(info), "error", err)
	return false, nil
}

// compareCreated compares a file with one of its name that another process has copied
// meanwhile. The version of the file is another one at each place.
func (c *copier) compareCreated(ctx context.Context, info *ltx.FileInfo) error {
	return c.compare(ctx, info, &ltx.FileInfo{Level: info.Level, MinTXID: info.MinTXID, MaxTXID: info.MaxTXID, Size: info.Size})
}

// stream writes a file. It returns an error before the end if the checksum of what
// it has written is wrong.
func (c *copier) stream(ctx context.Context, f *content, w io.Writer) error {
	var parts []part
	f.parts(func(p part) bool { parts = append(parts, p); return true })
	if _, err := w.Write(f.head); err != nil {
		return err
	}
	type loaded struct {
		part
		body    []byte
		release func()
	}
	load := func(ctx context.Context, p part) (loaded, error) {
		body, release, err := c.from.loadPart(ctx, f, p)
		return loaded{p, body, release}, err
	}
	var sums []ltxio.Sum
	err := inOrder(ctx, c.from.concurrency, parts, load, func(l loaded) error {
		defer l.release()
		sum, err := f.decodePart(l.part, l.body, func(uint32, []byte) error { return nil })
		if err != nil {
			return err
		}
		sums = append(sums, sum)
		if _, err := io.Copy(w, bytes.NewReader(l.body)); err != nil {
			return err
		}
		c.from.progress.add(Progress{Bytes: l.size()})
		return nil
	}, func(l loaded) { l.release() })
	if err == nil {
		err = f.check(sums)
	}
	if err == nil {
		_, err = w.Write(f.tail)
	}
	return err
}
