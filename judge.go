package litestream

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// verdict tells whether files that were listed are of the history that a view
// is of.
type verdict int

const (
	sameHistory    verdict = iota // they hold the view's transaction
	unknownHistory                // nothing tells whether they do
	otherHistory                  // they hold another transaction, or end before it
)

func (v verdict) String() string { return [...]string{"same", "unknown", "other"}[v] }

// judgement is what a listing tells of a view's history.
type judgement struct {
	verdict verdict

	// upTo is the newest of the view's transactions that the files are known to
	// hold. 0: there is none.
	upTo ltx.TXID

	// back means that the files end before the view. A listing of several
	// levels that is not of one moment can look like that, too.
	back bool

	// damaged means that a file might tell more if it could be read.
	damaged bool

	loaded *loadedFile // a file that it took, nil if none
}

// judge tells whether files are of the history of a view that was made before
// they were listed, or whether somebody has emptied the replica, or rolled it
// back to an older copy, and another writer has gone on from there.
//
// One transaction that is the same means that all before it are: so the newest
// one decides. It is the same if an object that is known to hold it is listed as
// it was, which takes no request. If not, a file that ends at a known transaction
// is asked for its timestamp, which is that of the transaction. Snapshots are
// stamped when they are made; one that was made again is compared by its checksum.
func (x *index) judge(ctx context.Context, before *view, files []*ltx.FileInfo) (j judgement, err error) {
	if before.last == nil || len(files) == 0 {
		return judgement{upTo: before.txid}, nil // there was none; or trouble, but no news
	}
	had := before.files()
	had[before.last.key()] = before.last
	seen := x.seenIn(before.epoch)
	var newest ltx.TXID
	for _, info := range files {
		newest = max(newest, info.MaxTXID)
		if info.MaxTXID <= j.upTo || info.MaxTXID > before.txid {
			continue
		}
		l, known := seen[keyOf(info)]
		if f := had[keyOf(info)]; f != nil && f.isListedAs(info) || f == nil && known && l.is(listingOf(info)) {
			j.upTo = info.MaxTXID
		}
	}
	if j.upTo < before.txid {
		if err := x.interrogate(ctx, &j, before, had, files); err != nil {
			return j, err
		}
	}
	switch {
	case j.verdict == otherHistory:
	case newest < before.txid:
		j.back, j.verdict = true, otherHistory
	case j.upTo < before.txid:
		j.verdict = unknownHistory
	}
	return j, nil
}

// interrogate reads the header of a file that ends at a known transaction, the
// newest there is.
func (x *index) interrogate(ctx context.Context, j *judgement, before *view, had map[fileKey]*ltxFile, files []*ltx.FileInfo) error {
	var suspects []*ltx.FileInfo
	for _, info := range files {
		if info.MaxTXID > j.upTo && info.MaxTXID <= before.txid {
			suspects = append(suspects, info)
		}
	}
	// Of those that end at one transaction, a known one takes the smallest read.
	slices.SortStableFunc(suspects, func(a, b *ltx.FileInfo) int {
		return cmp.Or(cmp.Compare(b.MaxTXID, a.MaxTXID), cmp.Compare(a.Level, b.Level))
	})
	for _, info := range suspects {
		f := had[keyOf(info)]
		want, dated := before.stampOf(info.MaxTXID)
		same := false
		var err error
		switch {
		case f != nil:
			same, err = x.isSameTransactions(ctx, f, info)
		case !dated || info.Level == SnapshotLevel:
			continue
		default:
			j.loaded, err = x.store.loadFile(ctx, info)
			switch {
			case err == nil:
				same = j.loaded.file.timestamp == want
			case errors.Is(err, ErrCorrupt) && j.upTo > 0:
				j.damaged = true // the others may tell enough
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

// isSameTransactions tells whether a file that is listed holds the transactions
// of one that is known, encoded again maybe: then it has another size.
func (x *index) isSameTransactions(ctx context.Context, f *ltxFile, info *ltx.FileInfo) (bool, error) {
	timestamp, err := x.store.timestamp(ctx, info)
	switch {
	case err != nil:
		return false, err
	case info.Size == f.size:
		same, err := x.isSameContent(ctx, f, info)
		return same && (timestamp == f.timestamp || f.level == SnapshotLevel), err
	}
	return timestamp == f.timestamp, nil
}

// isSameContent tells whether a file that is listed has the content of one that
// is known, in the same places: whether it differs in nothing but the header, in
// which a snapshot has the time at which it was made.
func (x *index) isSameContent(ctx context.Context, f *ltxFile, info *ltx.FileInfo) (bool, error) {
	if info.Size != f.size {
		return false, nil
	}
	sum, err := x.store.checksum(ctx, info)
	if err != nil || sum == f.checksum || f.level != SnapshotLevel {
		return err == nil && sum == f.checksum, err
	}
	header, err := x.store.header(ctx, info)
	if err != nil {
		return false, err
	}
	content := f.size - f.framesEnd - ltx.ChecksumSize
	for _, perFrame := range []int64{ltx.PageHeaderSize, ltx.PageHeaderSize + 4} { // in both encodings
		rest := content + int64(f.frames)*(perFrame+int64(f.pageSize))
		if ltxio.IsSameBehind(f.header[:], f.checksum, header, sum, rest) {
			return true, nil
		}
	}
	return false, nil
}

// isReplaced tells whether files are known to be of another history than a view
// that was made before they were listed. That they end earlier does not tell:
// some of them may have been lost.
func (x *index) isReplaced(ctx context.Context, before *view, files []*ltx.FileInfo) (bool, error) {
	j, err := x.judge(ctx, before, files)
	if err != nil {
		return false, err
	}
	return j.verdict == otherHistory && !j.back || j.verdict != sameHistory && j.upTo == 0, nil
}
