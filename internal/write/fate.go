package write

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// judge sets the fate of a segment.
func (r *recovery) judge(ctx context.Context, l *leftSegment, base *view.View) error {
	if l.log == nil {
		return nil
	}
	l.why = r.lost(l)
	switch {
	case l.s == nil && l.why == nil:
		l.fate = fateEmpty
		return nil
	case l.s == nil:
		l.fate = fateKeep
		return nil
	}
	done, why, err := r.isSynced(ctx, l.s, base)
	if err != nil {
		return err
	}
	if done {
		l.fate = fateSynced
		return nil
	}
	if why == nil {
		why, err = r.mismatch(ctx, l.s, base)
	}
	if err != nil {
		return err
	}
	if why != nil {
		l.fate = fateKeep
		l.why = errors.Join(l.why, fmt.Errorf("segment %d, %d commits after transaction %s: %w", l.number, l.s.commits, l.s.log.Base, why))
		return nil
	}
	r.segments = append(r.segments, l.s)
	return nil
}

// lost returns an error if a segment lacks commits that were acknowledged, or may
// lack such commits.
func (r *recovery) lost(l *leftSegment) error {
	if n := r.b.lock.missing(l.log); n > 0 {
		return fmt.Errorf("segment %d is damaged after %d bytes: %d more were acknowledged: %w", l.number, l.log.Size(), n, cmp.Or(l.tail.Err, errNoMore))
	}
	if l.tail.HasData() && r.b.lock.wasAcknowledged(l.log) {
		// It may be a commit that was written in part when power was lost, but
		// nothing proves that this commit was never acknowledged.
		return fmt.Errorf("segment %d is damaged, or its last commit was not written whole: %d bytes after the last commit: %w", l.number, l.tail.Size, l.tail.Err)
	}
	return nil
}

var errNoMore = errors.New("the file ends there")

// mismatch returns in why the reason that a segment does not follow the segment
// before it, or that the first segment does not follow the state of the replica.
// It is nil if the segment follows.
func (r *recovery) mismatch(ctx context.Context, s *segment, base *view.View) (why, err error) {
	if n := len(r.segments); n > 0 {
		before := r.segments[n-1]
		if s.log.Base != before.txid() || s.log.Before != before.log.Sum() || s.log.PageSize != before.log.PageSize {
			return errors.New("the segment does not follow the segment before it"), nil
		}
		return nil, nil
	}
	if r.followsKept(s) {
		return errors.New("the segment follows commits that are kept aside"), nil
	}
	want := s.log.State
	wantKey := view.Key{Level: want.Level, MinTXID: want.MinTXID, MaxTXID: want.MaxTXID}
	switch {
	case base.Last == nil && want.MaxTXID == 0 && r.hasLost():
		return errors.New("the segment follows commits of a segment that is damaged"), nil
	case s.log.Base != base.TXID:
		if err := r.checkBehind(ctx, s, base); err != nil {
			return nil, err
		}
		return fmt.Errorf("the replica is at transaction %s", base.TXID), nil
	case base.Last == nil:
		return nil, nil
	case s.log.PageSize != base.PageSize || want.Commit != base.Commit:
		return errors.New("the segment is of another database"), nil
	case want.Checksum != 0 && wantKey == base.Last.Key():
		if want.Checksum != base.Last.Checksum {
			return errors.New("the segment is of another history of the database: the newest file has another checksum"), nil
		}
	case base.Last.Level == replica.SnapshotLevel && want.Timestamp <= base.Timestamp:
		// A snapshot is stamped when it is made. The file that the segment names may
		// still be there.
		return r.mismatchFile(ctx, wantKey, want.Checksum)
	case want.Timestamp != base.Timestamp:
		// A file that was compacted since has the timestamp of its last part.
		return errors.New("the segment is of another history of the database: the newest transaction has another time"), nil
	}
	return nil, nil
}

// followsKept reports whether a segment follows one that is kept aside. Then it does
// not follow the state of the replica, although that may have the same size and time.
func (r *recovery) followsKept(s *segment) bool {
	return s.log.Before != 0 && slices.ContainsFunc(r.left, func(l *leftSegment) bool {
		return l.log != nil && l.fate == fateKeep && l.log.Sum() == s.log.Before
	})
}

// hasLost reports whether a segment before the one that is judged lacks commits:
// after a loss of power even its header may be missing.
func (r *recovery) hasLost() bool {
	return slices.ContainsFunc(r.left, func(l *leftSegment) bool { return l.log == nil || l.why != nil })
}

// mismatchFile decides mismatch by the checksum of the file key. If that file does
// not exist, nothing speaks against the segment.
func (r *recovery) mismatchFile(ctx context.Context, key view.Key, want ltx.Checksum) (why, err error) {
	if want == 0 {
		return nil, nil
	}
	var files []*ltx.FileInfo
	err = r.Store.Retry(ctx, func() (err error) {
		files, err = r.Store.List(ctx, key.Level, key.MinTXID, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if view.KeyOf(f) != key {
			continue
		}
		sum, err := r.Store.Checksum(ctx, f)
		if err == nil && sum != want {
			why = fmt.Errorf("the segment is of another history of the database: %s has another checksum", key)
		}
		return why, err
	}
	return nil, nil
}

// isSynced reports whether a segment is on the replica. The process that uploaded
// the segment may have ended before it removed it. If the file of the segment is there
// but need not be in the history of the replica, isSynced returns in why the reason.
func (r *recovery) isSynced(ctx context.Context, s *segment, base *view.View) (synced bool, why, err error) {
	if s.txid() > base.TXID || len(r.segments) > 0 {
		return false, nil, nil
	}
	e := &encoding{}
	if err := e.encode(discard{ctx}, s); err != nil {
		return false, nil, err
	}
	if base.TXID == s.txid() && base.Last.Level != replica.SnapshotLevel {
		if base.Last.Level == 0 {
			return base.Last.Checksum == e.trailer.FileChecksum, nil, nil
		}
		last := base.Last
		synced, err = r.isMerged(ctx, s, &ltx.FileInfo{Level: last.Level, MinTXID: last.MinTXID, MaxTXID: last.MaxTXID, Size: last.Size})
		return synced, nil, err
	}
	sum, err := r.Store.Checksum(ctx, &ltx.FileInfo{MinTXID: s.txid(), MaxTXID: s.txid(), Size: e.size})
	switch {
	case errs.IsMissing(err), errors.Is(err, errs.ErrCorrupt):
		return false, nil, nil
	case err != nil:
		return false, nil, err
	case sum != e.trailer.FileChecksum:
		return false, nil, nil
	}
	why, err = r.mergedWithout(ctx, s)
	return err == nil && why == nil, why, err
}

// isMerged reports whether a file that is not of level 0 was made of the file of a
// segment, and ends with it. A damaged file does not tell.
func (r *recovery) isMerged(ctx context.Context, s *segment, f *ltx.FileInfo) (bool, error) {
	merged, err := r.isMadeOf(ctx, s, f)
	if errs.IsMissing(err) || errors.Is(err, errs.ErrCorrupt) {
		return false, nil
	}
	return merged, err
}

// mergedWithout returns in why the reason that a segment whose file is on the replica
// may not be in its history: other files have its transaction, too. Another writer may
// have made that transaction while the upload of the segment was under way, and merged
// and deleted its own file before the upload took the name. A merged file that ends with
// the transaction tells by its pages, and others do not tell of which file they are.
func (r *recovery) mergedWithout(ctx context.Context, s *segment) (why, err error) {
	files, err := r.Store.ListAll(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.Level == 0 || f.MinTXID > s.txid() || s.txid() > f.MaxTXID {
			continue
		}
		if merged, err := r.isMerged(ctx, s, f); err != nil {
			return nil, err
		} else if !merged {
			return fmt.Errorf("it was uploaded, and %s has transaction %s as well, perhaps of another writer", view.KeyOf(f), s.txid()), nil
		}
	}
	return nil, nil
}

// checkBehind returns an error if the replica only seems to be at an earlier state
// than the one that a segment follows: the file of that state can be read, so the
// listing is wrong, or the replica is empty.
func (r *recovery) checkBehind(ctx context.Context, s *segment, base *view.View) error {
	if s.log.Base < base.TXID {
		return nil
	}
	at := view.Key{Level: s.log.State.Level, MinTXID: s.log.State.MinTXID, MaxTXID: s.log.State.MaxTXID}
	if at.MaxTXID == 0 {
		// The segment was begun before the one that it follows was uploaded, and a
		// segment is uploaded as the file of its last transaction.
		at = view.Key{MinTXID: s.log.Base, MaxTXID: s.log.Base}
	}
	err := r.Store.Load(ctx, at, make([]byte, ltx.HeaderSize), 0)
	switch {
	case err == nil, errors.Is(err, errs.ErrCorrupt):
		return fmt.Errorf("%w: it ends at transaction %s, but %s exists", ErrWrongListing, base.TXID, at)
	case !errs.IsMissing(err):
		return err
	case base.Last == nil:
		return fmt.Errorf("%w, and write buffer %s has commits that follow transaction %s: restore the replica, or set another path for the write buffer to begin a new database",
			errs.ErrNoDatabase, r.b.path, s.log.Base)
	}
	return nil
}
