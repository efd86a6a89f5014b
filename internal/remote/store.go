// Package remote makes the requests to a replica: it lists, reads, creates and
// deletes files through a replica client. It retries transient errors, limits the
// number of requests in flight, and loads the page indexes of files.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/jitter"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

// Store wraps a replica client for the engine: it returns listings as slices,
// reads an exact number of bytes, retries, and counts requests. It is safe for
// concurrent use.
type Store struct {
	Client replica.Client
	Log    *slog.Logger
	Limit  *Limiter    // shared by all databases of the VFS
	Hedge  *Hedge      // nil if slow reads get no second request
	Tasks  *task.Group // of the database; nil: nothing is read in the background

	// Indexes bounds the page indexes that are read as they are needed; nil: no
	// bound.
	Indexes *view.Budget

	// MaxWhole is the size in bytes of the largest page index all of which is read as
	// soon as a page of its file is; 0: 8 MiB, negative: none is.
	MaxWhole int64

	// NeverWhole makes the page indexes of all files with every page of a database
	// such indexes, however small. It is for tests.
	NeverWhole bool

	// Retrying is called with the error of each attempt that another one follows;
	// nil: no calls.
	Retrying func(error)

	// Numbers of requests so far. Reads counts attempts.
	Lists         atomic.Int64
	Reads         [numClasses]atomic.Int64
	ReadBytes     [numClasses]atomic.Int64
	NameReads     atomic.Int64 // reads by name, of files that may not exist
	NameReadBytes atomic.Int64
	Retries       atomic.Int64
	Hedges        atomic.Int64
	Creates       atomic.Int64
	CreateBytes   atomic.Int64 // bytes of files that clients took, also of attempts that failed
	Deletes       atomic.Int64

	// Answers counts the parts of bodies that arrive, the items of listings and the
	// listings that end. It grows as long as storage answers.
	Answers atomic.Int64

	// MorePages estimates the number of requests beyond the first that listings
	// took, because a store lists about listPage files in one.
	MorePages atomic.Int64

	cannotCreate atomic.Bool // set once the client refused to create a file only if it does not exist
	byLevel      atomic.Bool // set once the client refused to list all levels at once
	initLater    atomic.Bool // the next listing of all levels calls Init
	avoidNames   atomic.Bool // set once reads by name have turned out to be unreliable

	windows  windowFlights
	whole    wholeFlights
	guesses  credit
	wrong    sync.Map // error by wrongFile; pages of these files are not read any more
	versions versionCheck

	Speed Speed // of reads of pages
}

// listPage is about the number of files that a store lists in one request.
const listPage = 1000

// TotalReads returns the number of read requests of all classes and the number
// of bytes they returned. Reads by name are not among them.
func (s *Store) TotalReads() (n, bytes int64) {
	for i := range s.Reads {
		n += s.Reads[i].Load()
		bytes += s.ReadBytes[i].Load()
	}
	return n, bytes
}

// The delay between two attempts doubles from firstRetryDelay up to
// lastRetryDelay.
const (
	firstRetryDelay = 50 * time.Millisecond
	lastRetryDelay  = 2 * time.Second
)

// Retry calls fn until it succeeds, fails permanently, or ctx is done. It
// randomizes the delays, so that clients that failed together do not retry
// together.
func (s *Store) Retry(ctx context.Context, fn func() error) error {
	var before error // error of the previous attempt
	for delay := firstRetryDelay; ; delay = min(2*delay, lastRetryDelay) {
		err := s.Guard(fn)
		if err == nil || errs.IsPermanent(err) {
			return err
		}
		if before != nil && errors.Is(err, ctx.Err()) {
			return fmt.Errorf("%w: %w", ctx.Err(), before) // the reason; where this attempt was says nothing
		}
		before = err
		if s.Retrying != nil && ctx.Err() == nil {
			s.Retrying(err)
		}
		timer := time.NewTimer(jitter.Around(delay))
		select {
		case <-timer.C:
			s.Retries.Add(1)
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(err, ctx.Err()) {
				return err
			}
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// Guard turns a panic of the client into an error. The client is called on
// goroutines where a panic would end the process.
func (s *Store) Guard(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.Log.Error("panic", "op", "replica client", "panic", r, "stack", string(debug.Stack()))
			err = panicError{r}
		}
	}()
	return fn()
}

// panicError holds the value that a client panicked with. The call is not
// retried.
type panicError struct{ value any }

func (e panicError) Error() string { return fmt.Sprintf("replica client panicked: %v", e.value) }

// Permanent makes errs.IsPermanent report true.
func (panicError) Permanent() bool { return true }

// Init initializes the replica client, if it has to be.
func (s *Store) Init(ctx context.Context) error {
	c, ok := s.Client.(replica.Initializer)
	if !ok {
		return nil
	}
	return s.Retry(ctx, func() error {
		if err := c.Init(ctx); err != nil {
			return fmt.Errorf("init replica client: %w", err)
		}
		return nil
	})
}

// InitLater makes the next listing of all levels call Init first, which has failed
// before or was given up.
func (s *Store) InitLater() { s.initLater.Store(true) }

// initIfLate calls Init if InitLater was called.
func (s *Store) initIfLate(ctx context.Context) error {
	if !s.initLater.Load() {
		return nil
	}
	if err := s.Init(ctx); err != nil {
		return err
	}
	s.initLater.Store(false)
	return nil
}

// place waits until another request may start.
func (s *Store) place(ctx context.Context) (*Ticket, error) {
	t := s.Limit.Enqueue(Loading)
	return t, s.Limit.Wait(ctx, t)
}

// List lists the files of a level whose MinTXID is at least seek.
func (s *Store) List(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (files []*ltx.FileInfo, err error) {
	t, err := s.place(ctx)
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	defer s.Limit.Done(t)
	s.Lists.Add(1)
	err = s.Guard(func() error {
		ctx, versions := s.noteVersions(ctx)
		itr, err := s.Client.LTXFiles(ctx, level, seek, useMetadata)
		if err == nil {
			files, err = s.collect(itr, versions, func(f *ltx.FileInfo) bool { return f.Level == level && f.MinTXID >= seek })
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	return files, nil
}

// noteVersions returns the context for a listing and the map that receives the
// version of the current item.
func (s *Store) noteVersions(ctx context.Context) (context.Context, map[*ltx.FileInfo]string) {
	versions := make(map[*ltx.FileInfo]string, 1)
	n := s.versions.lists.Add(1)
	return clientio.WithVersionNoter(ctx, func(info *ltx.FileInfo, version string) {
		clear(versions) // drop the previous item
		if s.versions.isHidden(n, info, version) {
			s.AvoidNames("storage says that a file does not exist, and lists it", "file", view.KeyOf(info))
		}
		versions[info] = version
		if s.versions.isUseless(n, info, version) && !s.versions.useless.Swap(true) {
			s.Log.Warn("storage lists a file with another version than it reads it with: files that are replaced while they are read may not be noticed",
				"file", view.KeyOf(info), "version", version)
		}
	}), versions
}

// collect reads a listing to its end and closes it. It drops the files that
// keep rejects, because a client may return files before the position it was
// asked for. The iterator adds the versions of items to versions while it is
// read.
func (s *Store) collect(itr ltx.FileIterator, versions map[*ltx.FileInfo]string, keep func(*ltx.FileInfo) bool) (files []*ltx.FileInfo, err error) {
	for n := 0; itr.Next(); n++ {
		if n > 0 && n%listPage == 0 {
			s.MorePages.Add(1)
		}
		s.Answers.Add(1)
		f := itr.Item()
		if f.MinTXID == 0 || f.MinTXID > f.MaxTXID || f.Level < 0 || f.Level >= view.Levels {
			err = fmt.Errorf("%w: %s: no name of an ltx file", errs.ErrCorrupt, view.KeyOf(f))
			break
		}
		if version := versions[f]; version != "" {
			f = view.WithVersion(f, version)
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
	s.Answers.Add(1)
	return files, nil
}

// ListAll lists the files of all levels. It sends the requests in parallel if
// it takes more than one.
func (s *Store) ListAll(ctx context.Context, useMetadata bool) ([]*ltx.FileInfo, error) {
	if err := s.initIfLate(ctx); err != nil {
		return nil, err
	}
	if c, ok := s.Client.(replica.AllLTXFilesLister); ok {
		var files []*ltx.FileInfo
		err := s.Retry(ctx, func() error {
			t, err := s.place(ctx)
			if err != nil {
				return fmt.Errorf("list all levels: %w", err)
			}
			defer s.Limit.Done(t)
			ctx, versions := s.noteVersions(ctx)
			itr, err := c.AllLTXFiles(ctx, useMetadata)
			if err == nil {
				s.Lists.Add(1)
				files, err = s.collect(itr, versions, func(*ltx.FileInfo) bool { return true })
			}
			return err // the client's error names the operation
		})
		if !errors.Is(err, errors.ErrUnsupported) {
			return files, err
		}
		s.byLevel.Store(true)
	}
	return s.ListLevels(ctx, useMetadata)
}

// ListsAllAtOnce reports whether a listing of all levels takes about one
// request.
func (s *Store) ListsAllAtOnce() bool {
	_, ok := s.Client.(replica.AllLTXFilesLister)
	return ok && !s.byLevel.Load()
}

// ListLevels lists the files of all levels with one listing a level.
func (s *Store) ListLevels(ctx context.Context, useMetadata bool) ([]*ltx.FileInfo, error) {
	var levels [view.Levels]int
	for level := range levels {
		levels[level] = level
	}
	return s.listLevels(ctx, useMetadata, levels[:]...)
}

// listLevels lists the files of some levels, with one listing a level and all of
// them at the same time.
func (s *Store) listLevels(ctx context.Context, useMetadata bool, levels ...int) ([]*ltx.FileInfo, error) {
	listed := make([][]*ltx.FileInfo, len(levels))
	g, ctx := errgroup.WithContext(ctx)
	for i, level := range levels {
		g.Go(func() error {
			return s.Retry(ctx, func() (err error) {
				listed[i], err = s.List(ctx, level, 0, useMetadata)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(listed...), nil
}

// HasBegun reports whether files have come to a replica that had none. It makes one
// listing if that is enough for all levels, and otherwise lists the levels that the
// first file of a primary and a snapshot are in.
func (s *Store) HasBegun(ctx context.Context) (bool, error) {
	list := s.ListAll
	if !s.ListsAllAtOnce() {
		list = func(ctx context.Context, useMetadata bool) ([]*ltx.FileInfo, error) {
			return s.listLevels(ctx, useMetadata, 0, replica.SnapshotLevel)
		}
	}
	files, err := list(ctx, false)
	return len(files) > 0, err
}

// Survey lists what lies at the place of the replica, or in one of its folders.
// The error is errors.ErrUnsupported if the client cannot tell.
func (s *Store) Survey(ctx context.Context, dir string) (at replica.Survey, err error) {
	c, ok := s.Client.(replica.Surveyor)
	if !ok {
		return at, fmt.Errorf("survey replica: %w", errors.ErrUnsupported)
	}
	err = s.Retry(ctx, func() error {
		t, err := s.place(ctx)
		if err != nil {
			return fmt.Errorf("survey replica: %w", err)
		}
		defer s.Limit.Done(t)
		if at, err = c.Survey(ctx, dir); !errors.Is(err, errors.ErrUnsupported) {
			s.Lists.Add(1)
		}
		return err // the client's error names the operation
	})
	return at, err
}

// Load fills buf with bytes of a file from offset on. It is for the parts that
// describe a file: its header, page index and trailer.
func (s *Store) Load(ctx context.Context, f view.Key, buf []byte, offset int64) error {
	return s.readAll(ctx, Loading, Loading, s.Limit.Enqueue(Loading), f, buf, offset)
}

// read fills buf with the bytes of a file from offset on.
func (s *Store) read(ctx context.Context, f view.Key, buf []byte, offset int64) error {
	return s.readAll(ctx, Foreground, Foreground, s.Limit.Enqueue(Foreground), f, buf, offset)
}

// readAll fills buf with the bytes of a file from offset on. The request is counted
// for one class, and has the priority of another. The first attempt has ticket t.
func (s *Store) readAll(ctx context.Context, class, priority Class, t *Ticket, f view.Key, buf []byte, offset int64) error {
	short := -1 // length of the body when it last ended early
	first := true
	return s.Retry(ctx, func() error {
		if !first {
			t = s.Limit.Enqueue(priority)
		}
		first = false
		n, err := s.ReadOnce(ctx, class, t, f, buf, offset, nil)
		if errors.Is(err, ErrShortBody) {
			if n == short {
				return fmt.Errorf("read %s: %w: it ends at %d, before %d", f, errs.ErrCorrupt, offset+int64(n), offset+int64(len(buf)))
			}
			short = n
		}
		return err
	})
}

// Create creates a file with the content that encode writes, unless a file of
// that name exists. If the client cannot create files conditionally, Create
// checks for an existing file first. It makes one attempt, but it calls encode
// once more, for another upload, if the client notices only then that it cannot.
func (s *Store) Create(ctx context.Context, f view.Key, encode func(io.Writer) error) (info *ltx.FileInfo, err error) {
	s.Creates.Add(1)
	write := s.Client.WriteLTXFile
	if c, ok := s.Client.(replica.LTXFileCreator); ok && !s.cannotCreate.Load() {
		write = c.CreateLTXFile
	} else if err := s.checkFree(ctx, f); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(s.Guard(func() error { return encode(countingWriter{w, &s.CreateBytes}) }))
	}()
	err = s.Guard(func() error {
		info, err = write(ctx, f.Level, f.MinTXID, f.MaxTXID, r)
		return err
	})
	_ = r.Close()
	<-done
	if errors.Is(err, errors.ErrUnsupported) && !s.cannotCreate.Swap(true) {
		s.Log.Warn("storage cannot create a file only if there is none: two writers may not notice each other at once", "error", err)
		return s.Create(ctx, f, encode)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", f, err)
	}
	return info, nil
}

// countingWriter counts the bytes that a writer takes.
type countingWriter struct {
	io.Writer
	n *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// Copy creates a file with the content of a listed file of another store, without
// reading it. The error is errors.ErrUnsupported if the client cannot do that. It
// makes one attempt.
func (s *Store) Copy(ctx context.Context, from *Store, info *ltx.FileInfo) error {
	c, ok := s.Client.(replica.LTXFileCopier)
	if !ok {
		return fmt.Errorf("copy %s: %w", view.KeyOf(info), errors.ErrUnsupported)
	}
	if !from.versions.useless.Load() {
		ctx = AsListed(ctx, info)
	}
	s.Creates.Add(1)
	return s.Guard(func() error {
		_, err := c.CopyLTXFile(ctx, from.Client, info.Level, info.MinTXID, info.MaxTXID)
		return err // it names the operation
	})
}

// checkFree returns fs.ErrExist if the file exists. It reads the file: a
// listing could miss it, and the file would be overwritten.
func (s *Store) checkFree(ctx context.Context, f view.Key) error {
	switch err := s.Load(ctx, f, make([]byte, ltx.HeaderSize), 0); {
	case errs.IsMissing(err):
		return nil
	case err != nil && !errors.Is(err, errs.ErrCorrupt):
		return err
	}
	return fmt.Errorf("create %s: %w", f, fs.ErrExist)
}

// Delete deletes files.
func (s *Store) Delete(ctx context.Context, keys ...view.Key) error {
	infos := make([]*ltx.FileInfo, len(keys))
	for i, k := range keys {
		infos[i] = &ltx.FileInfo{Level: k.Level, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID}
	}
	s.Deletes.Add(1)
	return s.Guard(func() error { return s.Client.DeleteLTXFiles(ctx, infos) })
}

// ErrShortBody means that a body ended before the requested length. The
// connection may have been cut off.
var ErrShortBody = fmt.Errorf("body ends early: %w", io.ErrUnexpectedEOF)

// A body is delivered in parts that grow from firstPart to ReadPart, so that a
// caller that waits for the first page does not wait for the rest.
const (
	firstPart = 8 << 10
	ReadPart  = 64 << 10

	// hydrationPart is small because hydration yields to queries between two
	// parts. A query does not have to wait for a large part in flight.
	hydrationPart = 8 << 10
)

// ReadOnce waits for the ticket and makes one attempt to fill buf with the
// bytes of a file from offset on. It returns the number of bytes read. If fn is
// not nil, ReadOnce calls it after each part with all bytes read so far.
func (s *Store) ReadOnce(ctx context.Context, class Class, t *Ticket, f view.Key, buf []byte, offset int64, fn func([]byte)) (n int, err error) {
	if err := s.Limit.Wait(ctx, t); err != nil {
		return 0, fmt.Errorf("wait to read %s: %w", f, err)
	}
	defer s.Limit.Done(t)
	s.Reads[class].Add(1)
	timing := s.Speed.begin()
	if s.versions.useless.Load() {
		ctx = clientio.WithVersion(ctx, "")
	}
	r, err := s.Client.OpenLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, offset, int64(len(buf)))
	if err != nil {
		s.versions.failed(ctx, f, err)
		return 0, fmt.Errorf("open %s at %d: %w", f, offset, err)
	}
	for n < len(buf) && err == nil {
		var m int
		most := ReadPart
		if class == Hydrating && s.Limit.isQueried() {
			most = hydrationPart
		}
		m, err = io.ReadFull(r, buf[n:min(n+min(most, max(n, firstPart)), len(buf))])
		n += m
		if m > 0 {
			s.Answers.Add(1)
		}
		timing.arrived(m)
		if fn != nil && m > 0 {
			fn(buf[:n])
		}
	}
	s.ReadBytes[class].Add(int64(n))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = ErrShortBody
	}
	if err != nil {
		return n, fmt.Errorf("read %s at %d, %d of %d bytes: %w", f, offset, n, len(buf), err)
	}
	if class != Hydrating { // which waits for queries between the parts of a body
		timing.end()
	}
	return n, nil
}
