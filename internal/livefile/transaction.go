package livefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// errNotBeside means that a database cannot be read beside SQLite.
var errNotBeside = errors.New("the files cannot be read beside SQLite")

// walAttempts is how often begin reads a WAL that is begun anew meanwhile. That
// happens at most once during a read transaction.
const walAttempts = 3

// transaction is a read transaction of SQLite, and the state that it protects.
type transaction struct {
	conn     *sqlite3.Conn
	files    *files
	pageSize uint32
	pages    uint32
	isWAL    bool
	wal      *walIndex // nil if the database file has all pages
}

// begin begins a read transaction. The error is errNotBeside if the state cannot be
// read beside SQLite.
func begin(ctx context.Context, path string, busyTimeout time.Duration) (*transaction, error) {
	t := &transaction{files: newFiles()}
	var err error
	if t.conn, err = openDatabase(path, t.files.name, busyTimeout); err != nil {
		t.files.unregister()
		return nil, err
	}
	t.conn.SetInterrupt(ctx)
	if err := t.init(ctx, path, busyTimeout); err != nil {
		return nil, errors.Join(err, t.end())
	}
	t.conn.SetInterrupt(context.Background()) // the transaction lasts until end
	return t, nil
}

func (t *transaction) init(ctx context.Context, path string, busyTimeout time.Duration) error {
	if err := t.conn.Exec(beginRead); err != nil {
		return err
	}
	pageSize, err := queryInt(t.conn, "PRAGMA page_size")
	if err != nil {
		return err
	}
	pages, err := queryInt(t.conn, "PRAGMA page_count")
	if err != nil {
		return err
	}
	t.pageSize, t.pages, t.isWAL = uint32(pageSize), uint32(pages), t.files.wal != nil
	if t.files.main == nil || t.pages == 0 || !t.isWAL && !seesWriters {
		return errNotBeside
	}
	if !t.isWAL {
		return nil
	}
	return t.initWAL(ctx, path, busyTimeout)
}

// initWAL finds out which frames of the WAL belong to the state.
//
// The transaction holds one of SQLite's read locks, and which one is not known. Either
// it is lock 0: the database file had all commits, and no checkpoint writes to the
// file. Or it is another one: no checkpoint writes frames to the file that were
// committed later, and the WAL is not begun anew. A second connection says how many
// frames are committed now, and how many of them checkpoints have written.
//
// If all of them are written, the database file has the state, and the lock keeps it
// there. If there are more, then their pages are read from the WAL. With lock 0, the
// WAL may be begun anew once before the second connection looks, and not after that:
// this takes a checkpoint of all frames, which the lock prevents. With another lock,
// checkpoints write only what the WAL has as well.
func (t *transaction) initWAL(ctx context.Context, path string, busyTimeout time.Duration) (err error) {
	second, err := openDatabase(path, "", busyTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, second.Close()) }()
	second.SetInterrupt(ctx)
	if err := second.Exec("SELECT count(*) FROM sqlite_schema"); err != nil { // it opens the WAL
		return err
	}
	for range walAttempts {
		committed, written, err := lookAtWAL(second)
		if err != nil {
			return err
		}
		if written >= committed {
			return nil
		}
		wal, err := readWAL(t.files.wal, t.pageSize, committed)
		if errors.Is(err, errWAL) {
			continue
		}
		if err != nil {
			return err
		}
		// If the WAL was begun anew after the look, the frames are those of the new
		// one, and may not be committed.
		if now, _, err := lookAtWAL(second); err != nil {
			return err
		} else if now < committed {
			continue
		}
		t.wal, t.pages = wal, wal.commit
		return nil
	}
	return errNotBeside
}

// lookAtWAL returns how many frames the WAL of a database has, and how many of them
// are in the database file.
func lookAtWAL(conn *sqlite3.Conn) (committed, written uint32, err error) {
	c, w, err := conn.WALCheckpoint("main", sqlite3.CHECKPOINT_NOOP)
	if errors.Is(err, sqlite3.READONLY) || err == nil && (c < 0 || w < 0) {
		err = errNotBeside
	}
	if err != nil {
		return 0, 0, err
	}
	return uint32(c), uint32(w), nil
}

func (t *transaction) readPages(first uint32, pages []byte) error {
	size := int(t.pageSize)
	n, readErr := t.files.main.ReadAt(pages, int64(first-1)*int64(size))
	whole := n / size // pages that the database file has
	var frames []walFrame
	if t.wal != nil {
		frames = t.wal.between(first, first+uint32(len(pages)/size))
	}
	for _, f := range frames {
		i := int(f.pgno - first)
		if whole < i {
			break // the page before is in neither of the files
		}
		if err := readFull(t.files.wal, pages[i*size:(i+1)*size], walOffset(f.frame, t.pageSize)+walFrameHeaderSize); err != nil {
			return fmt.Errorf("frame %d of the WAL: %w", f.frame, err)
		}
		whole = max(whole, i+1)
	}
	switch {
	case whole*size == len(pages):
		return nil
	case errors.Is(readErr, io.EOF):
		return fmt.Errorf("the file ends before page %d of %d: %w", int(first)+whole, t.pages, io.ErrUnexpectedEOF)
	}
	return readErr
}

// end ends the transaction.
func (t *transaction) end() error {
	err := t.conn.Close()
	t.files.unregister()
	return err
}

func queryInt(conn *sqlite3.Conn, query string) (n int64, err error) {
	stmt, _, err := conn.Prepare(query)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	if stmt.Step() {
		n = stmt.ColumnInt64(0)
	}
	return n, stmt.Err()
}
