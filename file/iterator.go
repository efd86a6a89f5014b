package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/superfly/ltx"
)

// iterator lists the folder of one level. It reads the size and the times of a
// file when it comes to the file.
type iterator struct {
	ctx         context.Context
	dir         string
	level       int
	seek        ltx.TXID
	useMetadata bool

	entries []fs.DirEntry // the entries that are left, in order of name
	item    *ltx.FileInfo // nil before the first and after the last
	err     error
}

var _ ltx.FileIterator = (*iterator)(nil)

// newIterator returns an iterator over entries. os.ReadDir returns them in
// order of name, which for hex names of fixed width is the order of TXIDs.
func newIterator(ctx context.Context, dir string, level int, seek ltx.TXID, useMetadata bool, entries []fs.DirEntry) *iterator {
	return &iterator{ctx: ctx, dir: dir, level: level, seek: seek, useMetadata: useMetadata, entries: entries}
}

// Next implements ltx.FileIterator.
func (itr *iterator) Next() bool {
	itr.item = nil
	for itr.err == nil && len(itr.entries) > 0 {
		name := itr.entries[0].Name()
		itr.entries = itr.entries[1:]

		minTXID, maxTXID, ok := clientio.ParseName(name)
		if !ok || minTXID < itr.seek {
			continue
		}
		info, version, err := itr.stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since the folder was read
		} else if err != nil {
			itr.err = fmt.Errorf("list level %d: %w", itr.level, classify(err))
			return false
		}
		if info != nil {
			info.Level, info.MinTXID, info.MaxTXID = itr.level, minTXID, maxTXID
			itr.item = info
			clientio.NoteVersion(itr.ctx, info, version)
			return true
		}
	}
	return false
}

// stat returns size, time and version of a file, or nil if it is not a regular
// file.
func (itr *iterator) stat(name string) (*ltx.FileInfo, string, error) {
	if err := itr.ctx.Err(); err != nil {
		return nil, "", err
	}
	path := filepath.Join(itr.dir, name)
	fi, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if !fi.Mode().IsRegular() {
		return nil, "", nil
	}
	info := &ltx.FileInfo{Size: fi.Size(), CreatedAt: fi.ModTime().UTC()}
	if itr.useMetadata {
		info.CreatedAt, err = headerTime(path, info.CreatedAt)
	}
	return info, version(fi), err
}

// Item implements ltx.FileIterator. The info belongs to the caller.
func (itr *iterator) Item() *ltx.FileInfo { return itr.item }

// Err implements ltx.FileIterator.
func (itr *iterator) Err() error { return itr.err }

// Close implements ltx.FileIterator. It returns what Err returns.
func (itr *iterator) Close() error {
	itr.entries, itr.item = nil, nil
	return itr.err
}

// headerTime returns the timestamp in the header of an LTX file, or fallback
// if the file has no header: one damaged file must not hide the others.
func headerTime(path string, fallback time.Time) (time.Time, error) {
	f, err := openFile(path)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = f.Close() }() // only read

	hdr, _, err := ltx.PeekHeader(f)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, ltx.ErrInvalidFile):
		return fallback, nil
	case err != nil:
		return time.Time{}, fmt.Errorf("read ltx header: %w", err)
	}
	return time.UnixMilli(hdr.Timestamp).UTC(), nil
}
