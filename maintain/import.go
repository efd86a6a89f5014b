package maintain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/survey"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// Source is a database that Import reads. All of it has to be of one state: a
// program reads within a transaction, or reads a copy that SQLite's backup API has
// made. Its methods are called by one goroutine at a time.
type Source interface {
	// PageSize and Pages are the size of a page in bytes, and the number of pages.
	PageSize() uint32
	Pages() uint32

	// ReadPage fills page, which has the size of a page, with page pgno, from 1.
	// Pages are read in ascending order. They are read again, from page 1 on, by an
	// Import to a store that notices only during the upload that it cannot create a
	// file on the condition that there is none.
	ReadPage(ctx context.Context, pgno uint32, page []byte) error
}

// PagesSource is a Source that reads several pages at once, which is faster.
type PagesSource interface {
	Source

	// ReadPages fills pages with consecutive pages from pgno on. SQLite's lock page is
	// not among them.
	ReadPages(ctx context.Context, pgno uint32, pages []byte) error
}

// RestartableSource is a Source that does not keep the pages that were read.
type RestartableSource interface {
	Source

	// Restart is called before pages are read again. The source may have another
	// state from then on, with other values of PageSize and Pages. The context lasts
	// as long as that of Import.
	Restart(ctx context.Context) error
}

// ImportOptions are the options of Import.
type ImportOptions struct {
	Requests

	// Time is the timestamp of the replica's first transaction. Zero means now.
	Time time.Time
}

// Imported says what was imported.
type Imported struct {
	TXID     ltx.TXID  `json:"txid"`
	Time     time.Time `json:"time"`
	PageSize uint32    `json:"page_size"`
	Pages    uint32    `json:"pages"`
	Stored   int64     `json:"stored"` // size of the LTX file, bytes
}

// Import begins a replica with the content of a database, as transaction 1 and a
// snapshot. It is fs.ErrExist, and nothing is changed, if LTX files are at the
// place, or something else that a replica must not be mixed with. Two calls at the
// same time cannot both succeed if the store can create a file on the condition
// that there is none.
//
// The snapshot appears as a whole in the end. After an error, the replica is
// empty as before; after an error that leaves open what the store did, it may have
// the whole snapshot.
func Import(ctx context.Context, client replica.Client, src Source, opts ImportOptions) (*Imported, error) {
	s := newSession(client, opts.Requests)
	result, err := s.importFrom(ctx, src, opts.Time)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return result, nil
}

func (s *session) importFrom(ctx context.Context, src Source, now time.Time) (*Imported, error) {
	header, err := snapshotOf(src, now)
	if err != nil {
		return nil, err
	}
	files, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		return nil, fmt.Errorf("%w: the replica has LTX files already", fs.ErrExist)
	}
	if err := s.checkVacant(ctx); err != nil {
		return nil, err
	}
	s.progress.add(Progress{AllFiles: 1, AllBytes: int64(header.Commit) * int64(header.PageSize)})
	key := view.Key{Level: replica.SnapshotLevel, MinTXID: 1, MaxTXID: 1}
	u := s.startUpload(ctx, key)
	isAgain := false
	info, err := s.store.Create(u.ctx, key, u.body(func(w io.Writer) (err error) {
		if isAgain {
			if header, err = s.restart(ctx, src, now); err != nil {
				return err
			}
		}
		isAgain = true
		return s.encode(ctx, w, header, src)
	}))
	if err = u.end(err); err != nil {
		return nil, err
	}
	s.progress.add(Progress{Files: 1})
	return &Imported{TXID: 1, Time: time.UnixMilli(header.Timestamp).UTC(), PageSize: header.PageSize, Pages: header.Commit, Stored: info.Size}, nil
}

// snapshotOf returns the header of a snapshot of the state that a source has. A time of
// zero means now.
func snapshotOf(src Source, at time.Time) (ltx.Header, error) {
	if src.Pages() == 0 {
		return ltx.Header{}, fmt.Errorf("%w: the database is empty", fs.ErrInvalid)
	}
	if at.IsZero() {
		at = time.Now()
	}
	return ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: src.PageSize(), Commit: src.Pages(),
		MinTXID: 1, MaxTXID: 1, Timestamp: at.UnixMilli(),
	}, nil
}

// restart prepares a source for being read again, and returns the header of a snapshot of
// the state that it has then.
func (s *session) restart(ctx context.Context, src Source, at time.Time) (ltx.Header, error) {
	if r, ok := src.(RestartableSource); ok {
		if err := r.Restart(ctx); err != nil {
			return ltx.Header{}, err
		}
	}
	header, err := snapshotOf(src, at)
	s.progress.again(int64(header.Commit) * int64(header.PageSize))
	return header, err
}

// checkVacant returns fs.ErrExist if a replica must not begin at a place without LTX
// files.
func (s *session) checkVacant(ctx context.Context) error {
	switch kind, text, err := s.look(ctx); {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case err != nil:
		return err
	case kind.IsTaken() || kind == survey.File:
		return fmt.Errorf("%w: %s", fs.ErrExist, text)
	}
	return nil
}

// FileSource is a Source that reads a file which nothing changes meanwhile, such as
// one that SQLite's backup API has made. The file has no journal and no WAL.
type FileSource struct {
	r        io.ReaderAt
	pageSize uint32
	pages    uint32
}

// NewFileSource returns a source for a database of size bytes.
func NewFileSource(r io.ReaderAt, size int64) (*FileSource, error) {
	header := make([]byte, dbheader.Size)
	if _, err := r.ReadAt(header, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoDatabaseFile, err)
	}
	pageSize := dbheader.PageSize(header)
	if _, err := dbheader.Check(header, pageSize); err != nil {
		return nil, err
	}
	if pageSize < dbheader.MinPageSize || size%int64(pageSize) != 0 {
		return nil, fmt.Errorf("%w: a size of %d bytes with pages of %d", errNoDatabaseFile, size, pageSize)
	}
	return &FileSource{r, pageSize, uint32(size / int64(pageSize))}, nil
}

// errNoDatabaseFile means that a file is no SQLite database.
var errNoDatabaseFile = fmt.Errorf("%w: not a SQLite database", errs.ErrCorrupt)

// PageSize implements Source.
func (f *FileSource) PageSize() uint32 { return f.pageSize }

// Pages implements Source.
func (f *FileSource) Pages() uint32 { return f.pages }

// ReadPage implements Source.
func (f *FileSource) ReadPage(ctx context.Context, pgno uint32, page []byte) error {
	return f.ReadPages(ctx, pgno, page)
}

// ReadPages implements PagesSource.
func (f *FileSource) ReadPages(ctx context.Context, pgno uint32, pages []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := f.r.ReadAt(pages, int64(pgno-1)*int64(f.pageSize))
	switch {
	case n == len(pages):
		return nil
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

var _ PagesSource = (*FileSource)(nil)
