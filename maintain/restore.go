package maintain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// RestoreOptions are the options of Restore.
type RestoreOptions struct {
	Requests

	// At is the state to restore. The zero value is the newest one.
	At Moment

	// Sparse leaves holes in the file where pages have only zeros.
	Sparse bool
}

// Restored says what was restored.
type Restored struct {
	TXID     ltx.TXID  `json:"txid"`
	Time     time.Time `json:"time"` // of the last file that makes the state
	PageSize uint32    `json:"page_size"`
	Pages    uint32    `json:"pages"`
	Bytes    int64     `json:"bytes"`             // size of the database
	Files    int       `json:"files"`             // LTX files that make the state
	Read     int64     `json:"read"`              // bytes that were read of them
	Resumed  int64     `json:"resumed,omitempty"` // bytes that an interrupted restore had read before
}

// partialSuffix is added to the path of a file that is not restored yet.
const partialSuffix = ".partial"

// Restore restores a state of a database to a new file. It reads the files that
// make the state in parallel, compares their checksums, and writes each page of
// the state once, to its place in path with the suffix ".partial". In the end that
// file is synced and renamed to path. Page 1 is as the replica has it, with the
// journal mode of the primary.
//
// It is fs.ErrExist if something exists at path, or at the names that SQLite gives
// the journals of such a database, because SQLite would apply them to it.
//
// If Restore ends with an error, by its context or because the process was killed,
// path does not exist. The partial file stays, with a record of what it has, and
// the next call with the same path continues with it, also if new files have come
// and others were compacted: it keeps the pages that come from a file which is there
// as it was. Restore removes a partial file whose content turns out to be wrong.
func Restore(ctx context.Context, client replica.Client, path string, opts RestoreOptions) (*Restored, error) {
	result, err := restore(ctx, newSession(client, opts.Requests), path, opts)
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", path, err)
	}
	return result, nil
}

func restore(ctx context.Context, s *session, path string, opts RestoreOptions) (*Restored, error) {
	if err := checkFree(path); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		r := &restorer{session: s, sparse: opts.Sparse}
		result, err := r.toFile(ctx, path, opts.At)
		// Compaction may have replaced files by others since they were listed.
		if err == nil || ctx.Err() != nil || !isGone(err) && !errors.Is(err, errReplaced) || attempt == listings {
			return result, err
		}
	}
}

// RestoreTo restores a state of a database to a writer. The database is first
// restored to a temporary file in os.TempDir, so that no byte is written before
// all checksums were compared.
func RestoreTo(ctx context.Context, client replica.Client, w io.Writer, opts RestoreOptions) (result *Restored, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore: %w", err)
		}
	}()
	dir, err := os.MkdirTemp("", "litestream-restore-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	opts.Sparse = true
	path := dir + string(os.PathSeparator) + "database"
	if result, err = restore(ctx, newSession(client, opts.Requests), path, opts); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := io.Copy(w, &contextReader{ctx, f}); err != nil {
		return nil, err
	}
	return result, nil
}

// contextReader is a reader that ends with a context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// checkFree returns fs.ErrExist if a database must not be restored to a path.
func checkFree(path string) error {
	if path == "" {
		return fmt.Errorf("%w: no path", fs.ErrInvalid)
	}
	for _, suffix := range []string{"", "-wal", "-journal", "-shm"} {
		_, err := os.Lstat(path + suffix)
		switch {
		case err == nil && suffix == "":
			return fmt.Errorf("%w, and is not overwritten", fs.ErrExist)
		case err == nil:
			return fmt.Errorf("%w: %s, which SQLite would apply to the restored database", fs.ErrExist, path+suffix)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// toFile restores a state to a file, once.
func (r *restorer) toFile(ctx context.Context, path string, at Moment) (result *Restored, err error) {
	files, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, r.nothing(ctx)
	}
	plan, err := r.session.plan(ctx, files, at)
	if err != nil {
		return nil, err
	}
	partial, err := openPartial(path + partialSuffix)
	if err != nil {
		return nil, err
	}
	r.partial = partial
	err = r.run(ctx, plan)
	if err == nil {
		err = partial.finish(path, r.size())
	}
	if err != nil {
		// A damaged file of the replica may be repaired, and then everything is
		// read again.
		return nil, errors.Join(err, partial.abandon(errors.Is(err, errs.ErrCorrupt)))
	}
	last := plan[len(plan)-1]
	return &Restored{
		TXID: last.MaxTXID, Time: time.UnixMilli(r.state.header.Timestamp).UTC(), PageSize: r.state.header.PageSize, Pages: r.state.header.Commit,
		Bytes: r.size(), Files: len(plan), Read: r.read.Load(), Resumed: r.resumed,
	}, nil
}

// fileError adds the name of a file to an error about its content.
func fileError(info *ltx.FileInfo, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", view.KeyOf(info), err)
}
