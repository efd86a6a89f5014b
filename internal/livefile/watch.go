package livefile

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"time"
)

// watchInterval is the time between two looks whether programs need the read
// transaction to end. A program that does not wait for its turn to write holds a
// RESERVED lock for a fraction of a millisecond, and is noticed after some attempts.
const watchInterval = 2 * time.Millisecond

// seesWriters says that RESERVED locks of other processes can be seen during a read
// transaction. On other systems, the driver locks whole files, so that a writer does
// not get that far.
var seesWriters = slices.Contains([]string{"linux", "darwin", "windows"}, runtime.GOOS)

// watcher ends the transaction of a File early if programs need that.
type watcher struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// watch begins to watch, until the context is done.
func watch(ctx context.Context, f *File) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel, make(chan struct{})}
	t := f.live // only the watcher ends it before stop
	before := t.walSize()
	go func() {
		defer close(w.done)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if t.isInTheWay(before, f.left()) {
				f.detach(ctx)
				return
			}
		}
	}()
	return w
}

// stop ends the watch. A copy that is under way ends early. A nil watcher is none.
func (w *watcher) stop() {
	if w == nil {
		return
	}
	w.cancel()
	<-w.done
}

// left returns how many bytes are left to be read.
func (f *File) left() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return (int64(f.pages) + 1 - int64(f.next)) * int64(f.pageSize)
}

// isInTheWay reports whether programs need the transaction to end, given the size of
// the WAL at its beginning and how many bytes are left to be read.
func (t *transaction) isInTheWay(walBefore, left int64) bool {
	if t.isWAL {
		return t.walSize()-walBefore > left
	}
	reserved, err := t.files.main.CheckReservedLock()
	return reserved && err == nil
}

// walSize returns the size of the WAL, and 0 if there is none or if it is not known.
func (t *transaction) walSize() int64 {
	if !t.isWAL {
		return 0
	}
	size, err := t.files.wal.Size()
	if err != nil {
		return 0
	}
	return size
}

// copySize is how many bytes of a database are copied at a time.
const copySize = 1 << 20

// detach copies what is left to be read to a temporary file, and ends the
// transaction. Without room for the copy, the transaction stays.
func (f *File) detach(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.copyRest(ctx)
	if err != nil {
		return
	}
	f.state, f.copy = t, t
	_ = f.live.end() // the pages are read, and nothing was written
	f.live = nil
}

// copyRest copies the pages that were not read yet to where they are in the database.
func (f *File) copyRest(ctx context.Context) (*tempFile, error) {
	t, err := newTempFile()
	if err != nil {
		return nil, err
	}
	t.pageSize = f.pageSize
	if t.file, err = os.OpenFile(t.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		err = f.copyPages(ctx, t.file)
	}
	if err != nil {
		return nil, errors.Join(err, t.remove())
	}
	return t, nil
}

func (f *File) copyPages(ctx context.Context, to io.WriterAt) error {
	lock, end, size := int64(lockPage(f.pageSize)), int64(f.pages)+1, int64(f.pageSize)
	buf := make([]byte, max(copySize, size))
	for pgno := int64(f.next); pgno < end; {
		if pgno == lock {
			pgno++
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		next := min(pgno+int64(len(buf))/size, end)
		if pgno < lock {
			next = min(next, lock)
		}
		some := buf[:(next-pgno)*size]
		if err := f.live.readPages(uint32(pgno), some); err != nil {
			return err
		}
		if _, err := to.WriteAt(some, (pgno-1)*size); err != nil {
			return err
		}
		pgno = next
	}
	return nil
}
