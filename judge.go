package litestream

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// verdict says whether the listed files belong to the history of a view.
type verdict int

const (
	sameHistory    verdict = iota // the files hold the transaction of the view
	unknownHistory                // it is not known whether they do
	otherHistory                  // the files hold another transaction, or end before it
)

func (v verdict) String() string { return [...]string{"same", "unknown", "other"}[v] }

// judgement is what a listing reveals about the history of a view.
type judgement struct {
	verdict verdict

	// upTo is the newest transaction of the view that the files are known to
	// hold, or 0 if there is none.
	upTo ltx.TXID

	// back means that the files end before the view. The listings of several
	// levels are not taken at one moment and can look like that, too.
	back bool

	// damaged means that a file that could not be read might have decided.
	damaged bool

	loaded *remote.Loaded // a file that judge loaded on the way; nil if it loaded none
}

// judge decides whether the listed files are of the history of view before,
// which was built before they were listed. They are of another history if
// the replica was emptied, or if it was rolled back to an older copy and
// another writer has continued from there.
//
// If one transaction is the same, all earlier ones are the same, so the newest
// one decides. It is the same if an object that is known to hold it is listed
// as before; this takes no request. Otherwise judge reads the timestamp of a
// file that ends at a known transaction and compares it with the timestamp of
// the transaction. A snapshot carries the time of its creation. If it was
// created again, its checksum is compared.
func (h *histories) judge(ctx context.Context, before *view.View, files []*ltx.FileInfo) (j judgement, err error) {
	if before.Last == nil || len(files) == 0 {
		// The view has no file, or the replica has none. An empty replica is an
		// error that the caller reports, and says nothing about the history.
		return judgement{upTo: before.TXID}, nil
	}
	had := before.Files()
	had[before.Last.Key()] = before.Last
	seen := h.seenIn(before.Epoch)
	var newest ltx.TXID
	for _, info := range files {
		newest = max(newest, info.MaxTXID)
		if info.MaxTXID <= j.upTo || info.MaxTXID > before.TXID {
			continue
		}
		l, known := seen[view.KeyOf(info)]
		if f := had[view.KeyOf(info)]; f != nil && f.IsListedAs(info) || f == nil && known && l.Is(view.ListingOf(info)) {
			j.upTo = info.MaxTXID
		}
	}
	if j.upTo < before.TXID {
		if err := h.interrogate(ctx, &j, before, had, files); err != nil {
			return j, err
		}
	}
	switch {
	case j.verdict == otherHistory:
	case newest < before.TXID:
		j.back, j.verdict = true, otherHistory
	case j.upTo < before.TXID:
		j.verdict = unknownHistory
	}
	return j, nil
}

// interrogate reads the header of a file that ends at a known transaction. It
// takes the newest such file.
func (h *histories) interrogate(ctx context.Context, j *judgement, before *view.View, had map[view.Key]*view.File, files []*ltx.FileInfo) error {
	var suspects []*ltx.FileInfo
	for _, info := range files {
		if info.MaxTXID > j.upTo && info.MaxTXID <= before.TXID {
			suspects = append(suspects, info)
		}
	}
	// Of the files that end at one transaction, the one at the lowest level
	// takes the smallest read.
	slices.SortStableFunc(suspects, func(a, b *ltx.FileInfo) int {
		return cmp.Or(cmp.Compare(b.MaxTXID, a.MaxTXID), cmp.Compare(a.Level, b.Level))
	})
	for _, info := range suspects {
		f := had[view.KeyOf(info)]
		want, dated := before.StampOf(info.MaxTXID)
		same := false
		var err error
		switch {
		case f != nil:
			same, err = h.isSameTransactions(ctx, f, info)
		case !dated || info.Level == SnapshotLevel:
			continue
		default:
			j.loaded, err = h.store.LoadFile(ctx, info)
			switch {
			case err == nil:
				same = j.loaded.File.Timestamp == want
			case errors.Is(err, ErrCorrupt) && j.upTo > 0:
				j.damaged = true // other files may decide
				continue
			}
		}
		if err != nil {
			return err
		}
		if same {
			j.upTo = info.MaxTXID
		} else {
			j.verdict = otherHistory
		}
		return nil
	}
	return nil
}

// isSameTransactions reports whether the listed file holds the transactions of
// the known file f. If f was encoded again, the listed file has another size.
func (h *histories) isSameTransactions(ctx context.Context, f *view.File, info *ltx.FileInfo) (bool, error) {
	timestamp, err := h.store.Timestamp(ctx, info)
	switch {
	case err != nil:
		return false, err
	case info.Size == f.Size:
		same, err := h.isSameContent(ctx, f, info)
		return same && (timestamp == f.Timestamp || f.Level == SnapshotLevel), err
	}
	return timestamp == f.Timestamp, nil
}

// isSameContent reports whether the listed file has the content of the known
// file f in the same places. Only the headers may differ, and only those of
// snapshots, which contain the time of their creation.
func (h *histories) isSameContent(ctx context.Context, f *view.File, info *ltx.FileInfo) (bool, error) {
	if info.Size != f.Size {
		return false, nil
	}
	sum, err := h.store.Checksum(ctx, info)
	if err != nil || sum == f.Checksum || f.Header == nil { // only snapshots have one
		return err == nil && sum == f.Checksum, err
	}
	header, err := h.store.Header(ctx, info)
	if err != nil {
		return false, err
	}
	content := f.Size - f.FramesEnd - ltx.ChecksumSize
	for _, perFrame := range []int64{ltx.PageHeaderSize, ltx.PageHeaderSize + 4} { // one size for each encoding
		rest := content + int64(f.Frames)*(perFrame+int64(f.PageSize))
		if ltxio.IsSameBehind(f.Header[:], f.Checksum, header, sum, rest) {
			return true, nil
		}
	}
	return false, nil
}

// IsReplaced reports whether the files are known to be of another history than
// view before, which was made before they were listed. Files that end earlier
// than the view do not prove that, because some files may have been lost.
func (h *histories) IsReplaced(ctx context.Context, before *view.View, files []*ltx.FileInfo) (bool, error) {
	j, err := h.judge(ctx, before, files)
	if err != nil {
		return false, err
	}
	return j.verdict == otherHistory && !j.back || j.verdict != sameHistory && j.upTo == 0, nil
}
