// Package livefile reads a SQLite database file while programs write to it. All pages
// are of one state, which a transaction has left.
//
//	f, err := livefile.Open(ctx, "app.db", livefile.Options{})
//	err = f.ReadPages(ctx, 1, pages)
//	err = f.Close()
//
// A File holds a read transaction of SQLite, and reads the pages from the database
// file and its WAL itself, through the descriptors that SQLite has opened. No lock is
// lost, as POSIX locks are when a process closes another descriptor of a file.
//
// In WAL mode, programs write on meanwhile. The WAL grows, because SQLite cannot
// reuse it before the transaction ends. With a rollback journal, programs cannot
// commit during the transaction. Both are bounded: if a program wants to write with a
// rollback journal, or if the WAL has grown by more than what is left to be read, the
// File copies the rest to a temporary file and ends the transaction.
//
// Where the files cannot be read beside SQLite, such as a database in WAL mode in a
// folder without write permission, Open makes a copy by SQLite's backup API.
//
// Each page is read once. Restart begins again with page 1, and may go over to another
// state.
package livefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/ltxvfs/litestream/internal/dbheader"
)

// Options are the options of Open.
type Options struct {
	// Copy makes Open copy the database first, so that the read transaction ends as
	// soon as possible.
	Copy bool

	// BusyTimeout is how long Open waits for a program that writes. Zero means not at
	// all.
	BusyTimeout time.Duration
}

// File is one state of a database, until Restart. Its methods are called by one
// goroutine at a time.
type File struct {
	path     string
	opts     Options
	pageSize uint32
	pages    uint32
	watcher  *watcher // nil if there is no transaction to end early

	mu    sync.Mutex   // guards the fields below
	live  *transaction // nil once it has ended
	state state        // what pages are read from: the transaction, or the copy
	copy  *tempFile    // nil if there is none
	next  uint32       // first page that was not read yet
}

// state is what pages are read from.
type state interface {
	// readPages fills pages with consecutive pages from first on.
	readPages(first uint32, pages []byte) error
}

// Open begins to read a database. It returns the errors of SQLite for files that are
// no database, that are locked, and that need a recovery which the caller may not do.
// The context is also the one of the copies that are made later.
func Open(ctx context.Context, path string, opts Options) (*File, error) {
	f := &File{path: path, opts: opts}
	if err := f.open(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return f, nil
}

// open begins to read the state that the database has now.
func (f *File) open(ctx context.Context) error {
	if f.opts.Copy {
		return f.openCopy(ctx)
	}
	t, err := begin(ctx, f.path, f.opts.BusyTimeout)
	if errors.Is(err, errNotBeside) {
		return f.openCopy(ctx)
	}
	if err != nil {
		return err
	}
	f.pageSize, f.pages = t.pageSize, t.pages
	f.mu.Lock()
	f.live, f.state, f.next = t, t, 1
	f.mu.Unlock()
	f.watcher = watch(ctx, f)
	return nil
}

// openCopy copies the database by SQLite's backup API.
func (f *File) openCopy(ctx context.Context) error {
	t, err := newTempFile()
	if err != nil {
		return err
	}
	if err = backup(ctx, f.path, t.path, f.opts.BusyTimeout); err == nil {
		f.pageSize, f.pages, err = t.openDatabase()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("copy: %w", err), t.remove())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.copy, f.next = t, t, 1
	return nil
}

// PageSize is the size of a page in bytes.
func (f *File) PageSize() uint32 { return f.pageSize }

// Pages is the number of pages.
func (f *File) Pages() uint32 { return f.pages }

// ReadPage fills page, which has the size of a page, with page pgno. Pages are read
// in ascending order.
func (f *File) ReadPage(ctx context.Context, pgno uint32, page []byte) error {
	return f.ReadPages(ctx, pgno, page)
}

// ReadPages fills pages with consecutive pages from first on. Pages are read in
// ascending order, and the lock page is not read.
func (f *File) ReadPages(ctx context.Context, first uint32, pages []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil {
		return fs.ErrClosed
	}
	if err := f.state.readPages(first, pages); err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	f.next = first + uint32(len(pages))/f.pageSize
	return nil
}

// Restart makes the pages be read again, from page 1 on. If the transaction was ended
// early, the pages that were read before are not in the copy. Then the File goes over to
// the state that the database has now, with a PageSize and Pages of its own. The context
// is that of Open from then on. After an error, the File is closed.
func (f *File) Restart(ctx context.Context) error {
	f.mu.Lock()
	isClosed, isWhole := f.state == nil, f.live != nil || f.watcher == nil
	f.next = 1
	f.mu.Unlock()
	switch {
	case isClosed:
		return fs.ErrClosed
	case isWhole:
		return nil
	}
	err := f.Close()
	if err == nil {
		err = f.open(ctx)
	}
	if err != nil {
		return fmt.Errorf("read %s again: %w", f.path, err)
	}
	return nil
}

// Close ends the transaction and removes temporary files.
func (f *File) Close() (err error) {
	f.watcher.stop()
	f.watcher = nil
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = nil
	if f.live != nil {
		err = f.live.end()
		f.live = nil
	}
	if f.copy != nil {
		err = errors.Join(err, f.copy.remove())
		f.copy = nil
	}
	return err
}

// lockPage returns the number of the page that SQLite locks and never uses.
func lockPage(pageSize uint32) uint32 { return 0x40000000/pageSize + 1 }

// openDatabase opens a connection that may write, so that it removes the files of WAL
// mode if it is the last one, as any program does. Else the connection only reads.
func openDatabase(path, vfsName string, busyTimeout time.Duration) (*sqlite3.Conn, error) {
	name := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	if vfsName != "" {
		name += "?vfs=" + vfsName
	}
	conn, err := sqlite3.OpenFlags(name, sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		conn, err = sqlite3.OpenFlags(name, sqlite3.OPEN_READONLY|sqlite3.OPEN_URI)
	}
	if err != nil {
		return nil, err
	}
	if err := conn.BusyTimeout(busyTimeout); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// tempFile is a temporary file in a folder of its own, where SQLite can put others
// beside it.
type tempFile struct {
	dir, path string
	file      *os.File // nil before it is opened
	pageSize  uint32
}

func newTempFile() (*tempFile, error) {
	dir, err := os.MkdirTemp("", "ltxvfs-import-")
	if err != nil {
		return nil, err
	}
	return &tempFile{dir: dir, path: dir + string(os.PathSeparator) + "database"}, nil
}

// openDatabase opens the file, which is a whole database.
func (t *tempFile) openDatabase() (pageSize, pages uint32, err error) {
	if t.file, err = os.Open(t.path); err != nil {
		return 0, 0, err
	}
	header := make([]byte, dbheader.Size)
	info, err := t.file.Stat()
	if err != nil || info.Size() == 0 {
		return dbheader.MinPageSize, 0, err
	}
	if _, err := t.file.ReadAt(header, 0); err != nil {
		return 0, 0, err
	}
	t.pageSize = dbheader.PageSize(header)
	if _, err := dbheader.Check(header, t.pageSize); err != nil {
		return 0, 0, err
	}
	return t.pageSize, uint32(info.Size() / int64(t.pageSize)), nil
}

func (t *tempFile) readPages(first uint32, pages []byte) error {
	return readFull(t.file, pages, int64(first-1)*int64(t.pageSize))
}

// remove closes and removes the file.
func (t *tempFile) remove() (err error) {
	if t.file != nil {
		err = t.file.Close()
	}
	return errors.Join(err, os.RemoveAll(t.dir))
}
