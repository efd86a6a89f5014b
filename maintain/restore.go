package maintain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
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

	// Damaged are files that turned out to be damaged. Others have given the same
	// transactions.
	Damaged []FileName `json:"damaged,omitempty"`
}

// partialSuffix is added to the path of a file that is not restored yet.
const partialSuffix = ".partial"

// Restore restores a state of a database to a new file. It reads the files that
// make the state in parallel, compares their checksums, and writes each page of
// the state once, to its place in path with the suffix ".partial". In the end that
// file is synced and renamed to path. What fails after that is logged, and is no error.
// Page 1 is as the replica has it, with the journal mode of the primary.
//
// If a file is damaged, and others give the same state, Restore goes on with those.
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
	var avoid []FileName // damaged files
	for attempt := 1; ; {
		r := &restorer{session: s, sparse: opts.Sparse, avoid: avoid}
		result, err := r.toFile(ctx, path, opts.At)
		if bad, ok := errors.AsType[*avoidableError](err); ok && ctx.Err() == nil {
			s.store.Log.Debug("a file is damaged, and others are restored from instead", "error", bad.err)
			avoid = append(avoid, bad.file)
			continue // at most once for each file
		}
		// Compaction may have replaced files by others since they were listed.
		if err == nil || ctx.Err() != nil || !isGone(err) && !errors.Is(err, errReplaced) || attempt == listings {
			return result, err
		}
		attempt++
	}
}

// avoidableError is the error of a damaged file without which the state can be
// restored.
type avoidableError struct {
	file FileName
	err  error
}

func (e *avoidableError) Error() string { return e.err.Error() }

func (e *avoidableError) Unwrap() error { return e.err }

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
	target := Moment{TXID: plan[len(plan)-1].MaxTXID} // whichever files there are
	if len(r.avoid) > 0 {
		// Files that would have served instead may be gone by now.
		if plan, err = r.session.plan(ctx, withoutFiles(files, r.avoid), target); err != nil {
			return nil, fmt.Errorf("%w: %v: %w", errs.ErrCorrupt, r.avoid, err)
		}
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
		if file, ok := damagedFile(err); ok {
			if _, perr := r.session.plan(ctx, withoutFiles(files, append(slices.Clone(r.avoid), file)), target); perr == nil {
				err = &avoidableError{file, err}
			}
		}
		// A damaged file of the replica may be repaired, and then everything is
		// read again. What comes from other files stays if one can do without it.
		_, isAvoidable := errors.AsType[*avoidableError](err)
		return nil, errors.Join(err, partial.abandon(errors.Is(err, errs.ErrCorrupt) && !isAvoidable))
	}
	if partial.late != nil {
		r.store.Log.Warn("the database is restored, but the record of the restore is left, or the folder could not be synced", "path", path, "error", partial.late)
	}
	last := plan[len(plan)-1]
	return &Restored{
		TXID: last.MaxTXID, Time: time.UnixMilli(r.state.header.Timestamp).UTC(), PageSize: r.state.header.PageSize, Pages: r.state.header.Commit,
		Bytes: r.size(), Files: len(plan), Read: r.read.Load(), Resumed: r.resumed, Damaged: r.avoid,
	}, nil
}

// withoutFiles returns the files that are not among some.
func withoutFiles(files []*ltx.FileInfo, avoid []FileName) (left []*ltx.FileInfo) {
	for _, f := range files {
		if !slices.Contains(avoid, FileName(view.KeyOf(f))) {
			left = append(left, f)
		}
	}
	return left
}

// damagedFile returns the file whose content is damaged, according to an error.
func damagedFile(err error) (FileName, bool) {
	_, disagrees := errors.AsType[disagreement](err)
	e, ok := errors.AsType[*contentError](err)
	if !ok || disagrees || !errors.Is(err, errs.ErrCorrupt) {
		return FileName{}, false
	}
	return FileName(view.KeyOf(e.info)), true
}

// contentError is an error about the content of a file.
type contentError struct {
	info *ltx.FileInfo
	err  error
}

func (e *contentError) Error() string { return fmt.Sprintf("read %s: %v", view.KeyOf(e.info), e.err) }

func (e *contentError) Unwrap() error { return e.err }

// disagreement is the error of a file that is intact and does not fit others.
type disagreement struct{ error }

func (e disagreement) Unwrap() error { return e.error }

// fileError adds the name of a file to an error about its content.
func fileError(info *ltx.FileInfo, err error) error {
	if err == nil {
		return nil
	}
	return &contentError{info, err}
}
