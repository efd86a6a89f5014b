package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

// store is a ReplicaClient as the rest of the package uses it: listings as
// slices, reads of exact length, retries, counters. It is safe for
// concurrent use.
type store struct {
	client ReplicaClient
	log    *slog.Logger
	limit  *limiter          // of the VFS
	hedge  *hedge            // nil: no second requests
	run    func(func()) bool // runs something in the background, unless the database is closed

	lists     atomic.Int64
	reads     [numClasses]atomic.Int64 // attempts
	readBytes [numClasses]atomic.Int64
	retries   atomic.Int64
	hedges    atomic.Int64
	creates   atomic.Int64
	deletes   atomic.Int64

	cannotCreate atomic.Bool // only if there is none
	byLevel      atomic.Bool // it cannot list all levels at once

	wrong    sync.Map // error by wrongFile: files that are not read from any more
	versions versionCheck
}

// totalReads returns the number of read requests of all classes, and their bytes.
func (s *store) totalReads() (n, bytes int64) {
	for i := range s.reads {
		n += s.reads[i].Load()
		bytes += s.readBytes[i].Load()
	}
	return n, bytes
}

// Delays between attempts double from the first to the last.
const (
	firstRetryDelay = 50 * time.Millisecond
	lastRetryDelay  = 2 * time.Second
)

// retry calls fn until it succeeds, fails for good, or ctx is done. Delays
// are spread at random, so that clients that failed together do not come
// back together.
func (s *store) retry(ctx context.Context, fn func() error) error {
	var before error // of the attempt before
	for delay := firstRetryDelay; ; delay = min(2*delay, lastRetryDelay) {
		err := s.guard(fn)
		if err == nil || errs.IsPermanent(err) {
			return err
		}
		if before != nil && errors.Is(err, ctx.Err()) {
			return fmt.Errorf("%w: %w", err, before) // or the reason would be lost
		}
		before = err
		timer := time.NewTimer(delay/2 + rand.N(delay))
		select {
		case <-timer.C:
			s.retries.Add(1)
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(err, ctx.Err()) {
				return err
			}
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// guard turns a panic of the client into an error. Calls come from goroutines
// of their own, where it would end the process.
func (s *store) guard(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic", "op", "replica client", "panic", r, "stack", string(debug.Stack()))
			err = panicError{r}
		}
	}()
	return fn()
}

// panicError is what a client panicked with. It is no use to try again.
type panicError struct{ value any }

func (e panicError) Error() string { return fmt.Sprintf("replica client panicked: %v", e.value) }

func (panicError) Permanent() bool { return true }

func (s *store) init(ctx context.Context) error {
	c, ok := s.client.(Initializer)
	if !ok {
		return nil
	}
	return s.retry(ctx, func() error {
		if err := c.Init(ctx); err != nil {
			return fmt.Errorf("init replica client: %w", err)
		}
		return nil
	})
}

// place waits for a place among the requests under way.
func (s *store) place(ctx context.Context) (*ticket, error) {
	t := s.limit.enqueue(loading)
	return t, s.limit.wait(ctx, t)
}

// list lists the files of a level from seek on.
func (s *store) list(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (files []*ltx.FileInfo, err error) {
	t, err := s.place(ctx)
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	defer s.limit.done(t)
	s.lists.Add(1)
	err = s.guard(func() error {
		ctx, versions := s.noteVersions(ctx)
		itr, err := s.client.LTXFiles(ctx, level, seek, useMetadata)
		if err == nil {
			files, err = collect(itr, versions, func(f *ltx.FileInfo) bool { return f.Level == level && f.MinTXID >= seek })
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	return files, nil
}

// noteVersions returns the context of a listing, and where the versions of its
// items are noted.
func (s *store) noteVersions(ctx context.Context) (context.Context, map[*ltx.FileInfo]string) {
	versions := make(map[*ltx.FileInfo]string, 1)
	n := s.versions.lists.Add(1)
	return clientio.WithVersionNoter(ctx, func(info *ltx.FileInfo, version string) {
		clear(versions) // of the item before
		versions[info] = version
		if s.versions.isUseless(n, info, version) && !s.versions.useless.Swap(true) {
			s.log.Warn("storage lists a file with another version than it reads it with: files that are replaced while they are read may not be noticed",
				"file", keyOf(info), "version", version)
		}
	}), versions
}

// collect reads a listing to its end and closes it. It leaves out what keep
// refuses: a client may seek less precisely than asked. The versions of items
// are noted while they are read.
func collect(itr ltx.FileIterator, versions map[*ltx.FileInfo]string, keep func(*ltx.FileInfo) bool) (files []*ltx.FileInfo, err error) {
	for itr.Next() {
		f := itr.Item()
		if f.MinTXID == 0 || f.MinTXID > f.MaxTXID || f.Level < 0 || f.Level >= numLevels {
			err = fmt.Errorf("%w: %s: no name of an ltx file", ErrCorrupt, keyOf(f))
			break
		}
		if version := versions[f]; version != "" {
			f = withVersion(f, version)
		}
		if keep(f) {
			files = append(files, f)
		}
	}
	if err == nil {
		err = itr.Err()
	}
	if cerr := itr.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return files, nil
}

// listAll lists the files of all levels, in parallel where that takes more
// than one request.
func (s *store) listAll(ctx context.Context, useMetadata bool) ([]*ltx.FileInfo, error) {
	if c, ok := s.client.(AllLTXFilesLister); ok {
		var files []*ltx.FileInfo
		err := s.retry(ctx, func() error {
			t, err := s.place(ctx)
			if err != nil {
				return fmt.Errorf("list all levels: %w", err)
			}
			defer s.limit.done(t)
			ctx, versions := s.noteVersions(ctx)
			itr, err := c.AllLTXFiles(ctx, useMetadata)
			if err == nil {
				s.lists.Add(1)
				files, err = collect(itr, versions, func(*ltx.FileInfo) bool { return true })
			}
			return err // of which the client says what failed
		})
		if !errors.Is(err, errors.ErrUnsupported) {
			return files, err
		}
		s.byLevel.Store(true)
	}
	return s.listLevels(ctx, useMetadata)
}

// listsAllAtOnce tells whether a listing of all levels is about one request.
func (s *store) listsAllAtOnce() bool {
	_, ok := s.client.(AllLTXFilesLister)
	return ok && !s.byLevel.Load()
}

// listLevels lists the files of all levels, each by itself.
func (s *store) listLevels(ctx context.Context, useMetadata bool) ([]*ltx.FileInfo, error) {
	var levels [numLevels][]*ltx.FileInfo
	g, ctx := errgroup.WithContext(ctx)
	for level := range levels {
		g.Go(func() error {
			return s.retry(ctx, func() (err error) {
				levels[level], err = s.list(ctx, level, 0, useMetadata)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var files []*ltx.FileInfo
	for _, level := range levels {
		files = append(files, level...)
	}
	return files, nil
}

// load is read for what tells what is in a file.
func (s *store) load(ctx context.Context, f fileKey, buf []byte, offset int64) error {
	return s.readAll(ctx, loading, f, buf, offset)
}

// read fills buf with the bytes of a file from offset on.
func (s *store) read(ctx context.Context, f fileKey, buf []byte, offset int64) error {
	return s.readAll(ctx, foreground, f, buf, offset)
}

func (s *store) readAll(ctx context.Context, class requestClass, f fileKey, buf []byte, offset int64) error {
	short := -1 // where the body ended early, the last time
	return s.retry(ctx, func() error {
		n, err := s.readOnce(ctx, class, s.limit.enqueue(class), f, buf, offset, nil)
		if errors.Is(err, errShortBody) {
			if n == short {
				return fmt.Errorf("read %s: %w: it ends at %d, before %d", f, ErrCorrupt, offset+int64(n), offset+int64(len(buf)))
			}
			short = n
		}
		return err
	})
}

// create makes a file that encode writes, unless one of its name exists. Where
// the client cannot see to that itself, only a look before can. It is one
// attempt.
func (s *store) create(ctx context.Context, f fileKey, encode func(io.Writer) error) (info *ltx.FileInfo, err error) {
	s.creates.Add(1)
	write := s.client.WriteLTXFile
	if c, ok := s.client.(LTXFileCreator); ok && !s.cannotCreate.Load() {
		write = c.CreateLTXFile
	} else if err := s.checkFree(ctx, f); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(s.guard(func() error { return encode(w) }))
	}()
	err = s.guard(func() error {
		info, err = write(ctx, f.level, f.minTXID, f.maxTXID, r)
		return err
	})
	_ = r.Close()
	<-done
	if errors.Is(err, errors.ErrUnsupported) && !s.cannotCreate.Swap(true) {
		s.log.Warn("storage cannot create a file only if there is none: two writers may not notice each other at once")
		return s.create(ctx, f, encode)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", f, err)
	}
	return info, nil
}

// checkFree returns fs.ErrExist if there is a file. It reads the file, as a
// listing that lacks it would have it be overwritten.
func (s *store) checkFree(ctx context.Context, f fileKey) error {
	switch err := s.load(ctx, f, make([]byte, ltx.HeaderSize), 0); {
	case isMissing(err):
		return nil
	case err != nil && !errors.Is(err, ErrCorrupt):
		return err
	}
	return fmt.Errorf("create %s: %w", f, fs.ErrExist)
}

// delete deletes files.
func (s *store) delete(ctx context.Context, keys ...fileKey) error {
	infos := make([]*ltx.FileInfo, len(keys))
	for i, k := range keys {
		infos[i] = &ltx.FileInfo{Level: k.level, MinTXID: k.minTXID, MaxTXID: k.maxTXID}
	}
	s.deletes.Add(1)
	return s.guard(func() error { return s.client.DeleteLTXFiles(ctx, infos) })
}

// errShortBody means that a body ended before it was as long as asked for. It
// may have been cut off.
var errShortBody = fmt.Errorf("body ends early: %w", io.ErrUnexpectedEOF)

// A body is handed over in parts that grow from the first to readPart: who
// waits for its first page shall not wait for the others.
const (
	firstPart = 8 << 10
	readPart  = 64 << 10

	// hydrationPart is so small that a query need not wait for what is under
	// way: hydration gives way between parts.
	hydrationPart = 8 << 10
)

// readOnce makes one attempt to fill buf with the bytes of a file from offset
// on, when it is the ticket's turn, and returns how many there are. As they
// arrive, it calls fn, if there is one, with those so far.
func (s *store) readOnce(ctx context.Context, class requestClass, t *ticket, f fileKey, buf []byte, offset int64, fn func([]byte)) (n int, err error) {
	if err := s.limit.wait(ctx, t); err != nil {
		return 0, fmt.Errorf("wait to read %s: %w", f, err)
	}
	defer s.limit.done(t)
	s.reads[class].Add(1)
	if s.versions.useless.Load() {
		ctx = clientio.WithVersion(ctx, "")
	}
	r, err := s.client.OpenLTXFile(ctx, f.level, f.minTXID, f.maxTXID, offset, int64(len(buf)))
	if err != nil {
		s.versions.mismatched(f, err)
		return 0, fmt.Errorf("open %s at %d: %w", f, offset, err)
	}
	for n < len(buf) && err == nil {
		var m int
		most := readPart
		if class == hydrating && s.limit.isQueried() {
			most = hydrationPart
		}
		m, err = io.ReadFull(r, buf[n:min(n+min(most, max(n, firstPart)), len(buf))])
		n += m
		if fn != nil && m > 0 {
			fn(buf[:n])
		}
	}
	s.readBytes[class].Add(int64(n))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errShortBody
	}
	if err != nil {
		return n, fmt.Errorf("read %s at %d, %d of %d bytes: %w", f, offset, n, len(buf), err)
	}
	return n, nil
}

// isMissing reports whether err says that a file does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
