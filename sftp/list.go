package sftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// LTXFiles implements replica.Client. It reads the folder of the level. CreatedAt
// is the file's modification time, with or without useMetadata: the timestamp of
// the LTX header in whole seconds.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, _ bool) (ltx.FileIterator, error) {
	infos, err := c.list(ctx, level, seek)
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	return &iterator{ctx: ctx, infos: infos}, nil
}

func (c *ReplicaClient) list(ctx context.Context, level int, seek ltx.TXID) ([]listed, error) {
	if err := clientio.CheckLevel(level); err != nil {
		return nil, err
	}
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := s.readDir(ctx, s.layout.Prefix(level))
	if err != nil {
		return nil, err
	}
	var infos []listed
	for _, fi := range entries {
		minTXID, maxTXID, ok := clientio.ParseName(fi.Name())
		if !ok || minTXID < seek || !fi.Mode().IsRegular() {
			continue
		}
		info := &ltx.FileInfo{Level: level, MinTXID: minTXID, MaxTXID: maxTXID, Size: fi.Size(), CreatedAt: fi.ModTime().UTC()}
		infos = append(infos, listed{info, version(fi)})
	}
	slices.SortFunc(infos, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.info.MinTXID, b.info.MinTXID), cmp.Compare(a.info.MaxTXID, b.info.MaxTXID))
	})
	return infos, nil
}

// readDir reads a folder. A folder that does not exist is empty.
func (s *session) readDir(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	entries, err := do(ctx, s, func(l *link) ([]fs.FileInfo, error) { return l.readDir(ctx, dir) }, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, unexpected("read folder "+dir, err)
	}
	return entries, nil
}

// listed is an item of a listing.
type listed struct {
	info    *ltx.FileInfo
	version string
}

// iterator iterates over a folder that was read.
type iterator struct {
	ctx   context.Context
	infos []listed      // those that are left
	item  *ltx.FileInfo // nil before the first and after the last
	err   error
}

var _ ltx.FileIterator = (*iterator)(nil)

// Next implements ltx.FileIterator.
func (itr *iterator) Next() bool {
	itr.item = nil
	if itr.err == nil {
		itr.err = itr.ctx.Err()
	}
	if itr.err != nil || len(itr.infos) == 0 {
		return false
	}
	next := itr.infos[0]
	itr.infos = itr.infos[1:]
	itr.item = next.info
	clientio.NoteVersion(itr.ctx, next.info, next.version)
	return true
}

// Item implements ltx.FileIterator. The info belongs to the caller.
func (itr *iterator) Item() *ltx.FileInfo { return itr.item }

// Err implements ltx.FileIterator.
func (itr *iterator) Err() error { return itr.err }

// Close implements ltx.FileIterator. It returns what Err returns.
func (itr *iterator) Close() error {
	itr.infos, itr.item = nil, nil
	return itr.err
}
