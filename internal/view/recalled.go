package view

import (
	"fmt"
	"slices"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// Recalled describes a state from what was recorded of it: in which version each
// page is, and in which files, but not where in them.
type Recalled struct {
	TXID      ltx.TXID
	Commit    uint32 // pages
	PageSize  uint32
	Timestamp int64 // of transaction TXID, in milliseconds since the Unix epoch
	Files     []RecalledFile
	Stamps    []Stamp
}

// RecalledFile is a file that pages of a recalled state are in, or that contains
// its last transaction.
type RecalledFile struct {
	Key
	Size      int64
	Timestamp int64
	Commit    uint32
	Checksum  ltx.Checksum
}

// NewView returns the state. The function eachRun calls its argument for runs of
// successive pages of one version, in ascending order.
//
// No page of the view can be read from storage until a listing has shown which of
// the files still exist: the files count as deleted, so reads and refreshes look
// for others that have the pages in the same versions.
func (r *Recalled) NewView(eachRun func(fn func(first, pages uint32, version ltx.TXID))) (*View, error) {
	v := &View{TXID: r.TXID, Commit: r.Commit, PageSize: r.PageSize, Timestamp: r.Timestamp, stamps: r.Stamps[max(0, len(r.Stamps)-maxStamps):]}
	files := make([]*File, 0, len(r.Files))
	for _, f := range r.Files {
		files = append(files, f.file(r.PageSize))
	}
	for _, f := range files {
		if f.MaxTXID == r.TXID && (v.Last == nil || f.Level < v.Last.Level) {
			v.Last = f
		}
	}
	if v.Last == nil {
		return nil, fmt.Errorf("%w: no file of the record has transaction %s", errs.ErrCorrupt, r.TXID)
	}
	if err := v.recallPages(files, eachRun); err != nil {
		return nil, err
	}
	return v, nil
}

func (f RecalledFile) file(pageSize uint32) *File {
	made := &File{
		Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID, Size: f.Size, Timestamp: f.Timestamp,
		PageSize: pageSize, Commit: f.Commit, Checksum: f.Checksum, Placeless: true,
	}
	made.SetGone(true)
	made.listed.Store(&Listing{size: -1}) // no listing is of that size, so the content decides
	return made
}

// recallPages points pages to the files that have them.
func (v *View) recallPages(files []*File, eachRun func(fn func(first, pages uint32, version ltx.TXID))) (err error) {
	t := &v.Pages
	sources := make(map[ltx.TXID]uint32) // source number by version
	entries := make([]ltxio.Entry, 0, chunkLen)
	eachRun(func(first, pages uint32, version ltx.TXID) {
		if version == 0 || err != nil {
			return
		}
		src, known := sources[version]
		if !known {
			i := slices.IndexFunc(files, func(f *File) bool { return f.MinTXID <= version && version <= f.MaxTXID })
			if i < 0 {
				err = fmt.Errorf("%w: no file of the record has version %s of page %d", errs.ErrCorrupt, version, first)
				return
			}
			src = t.sources.assign(Source{files[i], version})
			sources[version] = src
		}
		for pgno, left := first, pages; left > 0; {
			n := min(left, chunkLen-(pgno-1)%chunkLen)
			entries = entries[:0]
			for i := range n {
				// Places that are adjacent take the least memory.
				entries = append(entries, ltxio.Entry{Pgno: pgno + i, Offset: int64(pgno + i), Size: 1})
			}
			t.put(src, entries, v.Commit)
			pgno, left = pgno+n, left-n
		}
	})
	return err
}
