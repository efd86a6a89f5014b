package clientio

import (
	"context"
	"time"

	"github.com/superfly/ltx"
)

// Object is what a listing tells of an object.
type Object struct {
	Key       string
	Size      int64
	CreatedAt time.Time // the best hint of the LTX header's timestamp
	Version   string    // see NoteVersion; empty if the store does not tell
}

// A Pager fetches the next page of a listing, in order of key, and says
// whether there are more.
type Pager func(ctx context.Context) (page []Object, more bool, err error)

// NewIterator returns an iterator over the LTX files among the objects of a
// listing that have MinTXID >= seek. It fetches pages as it comes to them.
func NewIterator(ctx context.Context, layout Layout, seek ltx.TXID, next Pager) ltx.FileIterator {
	return &iterator{ctx: ctx, layout: layout, seek: seek, next: next, more: true}
}

type iterator struct {
	ctx    context.Context
	layout Layout
	seek   ltx.TXID
	next   Pager

	page []Object // what is left of it
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
