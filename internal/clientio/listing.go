package clientio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"
)

// Object is an object as a listing describes it.
type Object struct {
	Key       string
	Size      int64
	CreatedAt time.Time // the best approximation of the LTX header's timestamp
	Version   string    // see NoteVersion; empty if the store has none
}

// A Pager fetches the next page of a listing, in order of key. more says that
// there are more pages.
type Pager func(ctx context.Context) (page []Object, more bool, err error)

// Lister is a connection to an object store that can list it.
type Lister interface {
	// Layout returns the names of the files of the replica.
	Layout() Layout

	// Pager returns a pager of the objects whose names begin with prefix. Where
	// the store can, the listing begins at the name start, unless that is empty.
	Pager(prefix, start string, useMetadata bool) Pager
}

// List implements LTXFiles for a client of an object store.
func List[S Lister](ctx context.Context, level int, seek ltx.TXID, useMetadata bool, connect func(context.Context) (S, error)) (ltx.FileIterator, error) {
	err := CheckLevel(level)
	var s S
	if err == nil {
		s, err = connect(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	layout, start := s.Layout(), ""
	if seek > 0 {
		start = layout.Seek(level, seek)
	}
	next := s.Pager(layout.Prefix(level), start, useMetadata)
	return NewIterator(ctx, layout, seek, next.checked(layout).named(fmt.Sprintf("level %d", level))), nil
}

// ListAll implements AllLTXFiles for a client of an object store.
func ListAll[S Lister](ctx context.Context, useMetadata bool, connect func(context.Context) (S, error)) (ltx.FileIterator, error) {
	s, err := connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("list all levels: %w", err)
	}
	layout := s.Layout()
	next := s.Pager(layout.CommonPrefix(), "", useMetadata)
	return NewIterator(ctx, layout, 0, next.checked(layout).named("all levels")), nil
}

// checked returns a pager that refuses LTX files that cannot be. A listing out of
// order may lack files where it begins at a name.
func (next Pager) checked(layout Layout) Pager {
	last := "" // the key of the last LTX file
	return func(ctx context.Context) ([]Object, bool, error) {
		page, more, err := next(ctx)
		if err != nil {
			return nil, false, err
		}
		for _, o := range page {
			switch _, _, _, ok := layout.Parse(o.Key); {
			case !ok:
				continue
			case o.Key <= last:
				return nil, false, Permanent(errors.New("server does not list in order of name"))
			case o.Size < 0:
				return nil, false, errors.New("answer lists a file of an impossible size")
			}
			last = o.Key
		}
		return page, more, nil
	}
}

// named returns a pager whose errors say what it lists.
func (next Pager) named(what string) Pager {
	return func(ctx context.Context) ([]Object, bool, error) {
		page, more, err := next(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("list %s: %w", what, err)
		}
		return page, more, nil
	}
}

// NewIterator returns an iterator over the LTX files with MinTXID >= seek among
// the objects of a listing. It fetches a page when it needs it.
func NewIterator(ctx context.Context, layout Layout, seek ltx.TXID, next Pager) ltx.FileIterator {
	return &iterator{ctx: ctx, layout: layout, seek: seek, next: next, more: true}
}

type iterator struct {
	ctx    context.Context
	layout Layout
	seek   ltx.TXID
	next   Pager

	page []Object // the items that are left
	more bool
	item *ltx.FileInfo // nil before the first and after the last
	err  error
}

// Next implements ltx.FileIterator.
func (itr *iterator) Next() bool {
	itr.item = nil
	for itr.err == nil {
		for len(itr.page) > 0 {
			o := itr.page[0]
			itr.page = itr.page[1:]
			level, minTXID, maxTXID, ok := itr.layout.Parse(o.Key)
			if !ok || minTXID < itr.seek {
				continue
			}
			itr.item = &ltx.FileInfo{Level: level, MinTXID: minTXID, MaxTXID: maxTXID, Size: o.Size, CreatedAt: o.CreatedAt.UTC()}
			NoteVersion(itr.ctx, itr.item, o.Version)
			return true
		}
		if !itr.more {
			return false
		}
		if itr.err = itr.ctx.Err(); itr.err == nil {
			itr.page, itr.more, itr.err = itr.next(itr.ctx)
		}
	}
	return false
}

// Item implements ltx.FileIterator. The info belongs to the caller.
func (itr *iterator) Item() *ltx.FileInfo { return itr.item }

// Err implements ltx.FileIterator.
func (itr *iterator) Err() error { return itr.err }

// Close implements ltx.FileIterator. It returns what Err returns.
func (itr *iterator) Close() error {
	itr.page, itr.item, itr.more = nil, nil, false
	return itr.err
}
