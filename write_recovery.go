package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/superfly/ltx"
)

// fate is what becomes of a segment that an earlier process left.
type fate int

const (
	fateReplay fate = iota // its commits are committed again
	fateSynced             // they are on the replica
	fateEmpty              // there are none
	fateKeep               // it is kept aside
)

// leftSegment is a segment that an earlier process left.
type leftSegment struct {
	number uint64
	log    *commitlog.Segment // nil: it cannot be read as one
	s      *segment           // its commits; nil: there are none
	tail   commitlog.Tail
	fate   fate
	why    error // why something of it is not replayed, nor on the replica; nil: all is
}

// recovery is what an earlier process left in a write buffer.
type recovery struct {
	segments []*segment // that follow the state of the replica, the oldest first
	kept     string     // where what is not replayed is kept; empty: there is nothing

	*writeDeps
	b    *writeBuffer
	left []*leftSegment
}

// recoverBuffer reads the segments of a buffer. Those that are on the replica
// already are removed. What cannot be replayed is kept aside: segments that do
// not belong there, and those that something is damaged of, as a whole, though
// the commits before the damage are replayed. Nothing is changed before all
// have been read.
func recoverBuffer(ctx context.Context, deps *writeDeps, b *writeBuffer, base *view) (*recovery, error) {
	numbers, err := b.numbers()
	if err != nil {
		return nil, err
	}
	r := &recovery{writeDeps: deps, b: b}
	for _, n := range numbers {
		l, err := r.read(n)
		if err == nil {
			err = r.judge(ctx, l, base)
		}
		if err != nil {
			return nil, err
		}
		r.left = append(r.left, l)
	}
	if err := r.checkOwner(base); err != nil {
		return nil, err
	}
	if err := r.keep(); err != nil {
		return nil, err
	}
	if err := r.clear(); err != nil {
		return nil, err
	}
	if err := b.begin(r.segments); err != nil {
		return nil, err
	}
	if len(r.segments) > 0 {
		last := r.segments[len(r.segments)-1]
		r.log.Info("commits were found in the write buffer", "segments", len(r.segments), "last", last.txid(), "pages", last.commit)
	}
	return r, nil
}

// read reads a segment.
func (r *recovery) read(number uint64) (*leftSegment, error) {
	l := &leftSegment{number: number}
	var commits []commitlog.Commit
	log, tail, err := r.b.open(number, func(c commitlog.Commit) error {
		commits = append(commits, c)
		return nil
	})
	switch {
	case errors.Is(err, ownfile.ErrForeign):
		return nil, err
	case errors.Is(err, commitlog.ErrNoHeader):
		l.fate = fateEmpty
		return l, nil
	case errors.Is(err, commitlog.ErrInvalid), errors.Is(err, commitlog.ErrDamaged), errors.Is(err, commitlog.ErrVersion):
		l.fate, l.why = fateKeep, err
		return l, nil
	case err != nil:
		return nil, err
	}
	l.log, l.tail = log, tail
	if len(commits) > 0 {
		l.s = newSegment(log)
		for _, c := range commits {
			l.s.add(&localCommit{Commit: c, segment: l.s})
		}
	}
	return l, nil
}

// judge decides what becomes of a segment.
func (r *recovery) judge(ctx context.Context, l *leftSegment, base *view) error {
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
	done, err := r.isSynced(ctx, l.s, base)
	if err != nil {
		return err
	}
	if done {
		l.fate = fateSynced
		return nil
	}
	why, err := r.mismatch(ctx, l.s, base)
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

// checkOwner refuses a buffer that is another database's, so that it can still
// be recovered where it belongs. A replica may have got another name: if it is
// not empty, its state decides, and commits that follow it are replayed.
func (r *recovery) checkOwner(base *view) error {
	for _, l := range r.left {
		if l.log == nil {
			continue
		}
		switch {
		case l.log.Owner == commitlog.Owner{}:
			if l.fate == fateReplay && base.last == nil {
				r.log.Warn("a segment of the write buffer is of a version that did not note which replica it is for; it is taken for this one's", "segment", l.number)
			}
		case isSameOwner(l.log.Owner, r.owner), l.fate == fateSynced && l.why == nil, l.fate == fateEmpty:
		case base.last == nil || l.fate == fateKeep || l.why != nil:
			return fmt.Errorf("%w: %s has commits of %s, and this is %s; open that one with this path to upload them, or give this one another path",
				ErrForeignBuffer, l.log.Path(), describeOwner(l.log.Owner), describeOwner(r.owner))
		default:
			r.log.Info("the write buffer was for another replica, whose state this one has", "segment", l.number, "was", l.log.Owner.Replica, "is", r.owner.Replica)
		}
	}
	return nil
}

// lost returns why a segment has, or may have, lost commits that were
// acknowledged.
func (r *recovery) lost(l *leftSegment) error {
	if n := r.b.lock.missing(l.log); n > 0 {
		return fmt.Errorf("segment %d is damaged after %d bytes: %d more were acknowledged: %w", l.number, l.log.Size(), n, cmp.Or(l.tail.Err, errNoMore))
	}
	if l.tail.HasData() && r.b.lock.wasAcknowledged(l.log) {
		// It may be a commit that was not written whole when power was lost. But
		// nothing proves that it was never acknowledged.
		return fmt.Errorf("segment %d is damaged, or its last commit was not written whole: %d bytes after the last commit: %w", l.number, l.tail.Size, l.tail.Err)
	}
	return nil
}

var errNoMore = errors.New("there is nothing more")

// keep keeps aside what is neither replayed nor on the replica.
func (r *recovery) keep() (err error) {
	var kept []keptSegment
	var why error
	for _, l := range r.left {
		if l.why != nil {
			why = errors.Join(why, l.why)
			kept = append(kept, keptSegment{number: l.number, log: l.log, copied: l.fate == fateReplay})
		}
	}
	if len(kept) == 0 {
		return nil
	}
	r.kept, err = r.b.keepAside(kept)
	r.log.Error("commits in the write buffer cannot be replayed, and are kept", "error", why, "segments", len(kept), "kept", r.kept)
	if err != nil {
		return err
	}
	return r.b.do("forget commits", r.b.lock.forget)
}

// clear removes segments that nothing is to be replayed of, and what follows
// the last commit of others: what has to be kept of it is by now, and the next
// process may not know any more that it was not acknowledged.
func (r *recovery) clear() error {
	for _, l := range r.left {
		switch {
		case l.why != nil || l.tail.Size == 0:
		case l.tail.Zeros:
			r.log.Warn("a segment of the write buffer ends in zeros", "segment", l.number, "bytes", l.tail.Size)
		default:
			r.log.Info("the write buffer ends in a commit that was not acknowledged", "segment", l.number, "bytes", l.tail.Size)
		}
		switch {
		case l.fate == fateReplay && l.tail.Size > 0:
			if err := r.b.do("cut segment", l.log.Cut); err != nil {
				return fmt.Errorf("cut %s off after its last commit: %w", l.log.Path(), err)
			}
			continue
		case l.fate == fateReplay || l.why != nil:
			continue
		case l.fate == fateSynced:
			r.log.Info("a segment of the write buffer is on the replica already", "txid", l.s.txid())
		case l.log == nil && !r.b.lock.isOurs:
			r.b.ignore(l.number)
			continue
		default:
			r.log.Info("a segment of the write buffer has no commit", "segment", l.number)
		}
		if err := r.b.removeNumber(l.number); err != nil {
			return err
		}
	}
	return nil
}

// mismatch returns why a segment does not follow what is there.
func (r *recovery) mismatch(ctx context.Context, s *segment, base *view) (why, err error) {
	if n := len(r.segments); n > 0 {
		before := r.segments[n-1]
		if s.log.Base != before.txid() || s.log.Before != before.log.Sum() || s.log.PageSize != before.log.PageSize {
			return errors.New("it does not follow the segment before it"), nil
		}
		return nil, nil
	}
	want := s.log.State
	wantKey := fileKey{want.Level, want.MinTXID, want.MaxTXID}
	switch {
	case s.log.Base != base.txid:
		if err := r.checkBehind(ctx, s, base); err != nil {
			return nil, err
		}
		return fmt.Errorf("the replica is at transaction %s", base.txid), nil
	case base.last == nil:
		return nil, nil
	case s.log.PageSize != base.pageSize || want.Commit != base.commit:
		return errors.New("it is of another database"), nil
	case want.Checksum != 0 && wantKey == base.last.key():
		if want.Checksum != base.last.checksum {
			return errors.New("it is of another history of the database: the newest file has another checksum"), nil
		}
	case base.last.level == SnapshotLevel && want.Timestamp <= base.timestamp:
		// Snapshots are stamped when they are made. The file may still be there.
		return r.mismatchFile(ctx, wantKey, want.Checksum)
	case want.Timestamp != base.timestamp:
		// A file that was compacted since has the timestamp of its last part.
		return errors.New("it is of another history of the database: the newest transaction has another time"), nil
	}
	return nil, nil
}

// mismatchFile is mismatch by the checksum of a file, if it is there.
func (r *recovery) mismatchFile(ctx context.Context, key fileKey, want ltx.Checksum) (why, err error) {
	if want == 0 {
		return nil, nil
	}
	var files []*ltx.FileInfo
	err = r.store.retry(ctx, func() (err error) {
		files, err = r.store.list(ctx, key.level, key.minTXID, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if keyOf(f) != key {
			continue
		}
		sum, err := r.store.checksum(ctx, f)
		if err == nil && sum != want {
			why = fmt.Errorf("it is of another history of the database: %s has another checksum", key)
		}
		return why, err
	}
	return nil, nil
}

// isSynced tells whether a segment was uploaded by a process that did not come to remove
// it.
func (r *recovery) isSynced(ctx context.Context, s *segment, base *view) (bool, error) {
	if s.txid() > base.txid || len(r.segments) > 0 {
		return false, nil
	}
	e := &encoding{}
	if err := e.encode(discard{ctx}, s); err != nil {
		return false, err
	}
	if base.last != nil && base.txid == s.txid() && base.last.level != SnapshotLevel {
		if base.last.level == 0 {
			return base.last.checksum == e.trailer.FileChecksum, nil
		}
		return base.timestamp == s.newest && base.commit == s.commit, nil
	}
	sum, err := r.store.checksum(ctx, &ltx.FileInfo{MinTXID: s.txid(), MaxTXID: s.txid(), Size: e.size})
	if isMissing(err) || errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return err == nil && sum == e.trailer.FileChecksum, err
}

// checkBehind returns an error if a replica that has not got to the state that a
// segment follows may have got there all the same: it is empty, or the file of
// that state can be read, so that the listing is wrong.
func (r *recovery) checkBehind(ctx context.Context, s *segment, base *view) error {
	if s.log.Base < base.txid {
		return nil
	}
	at := fileKey{s.log.State.Level, s.log.State.MinTXID, s.log.State.MaxTXID}
	err := r.store.load(ctx, at, make([]byte, ltx.HeaderSize), 0)
	switch {
	case err == nil, errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w: it ends at transaction %s, and %s is there", errWrongListing, base.txid, at)
	case !isMissing(err):
		return err
	case base.last == nil:
		return fmt.Errorf("%w, and write buffer %s has commits that follow transaction %s: restore the replica, or set another path for the write buffer to begin a new database",
			ErrNoDatabase, r.b.path, s.log.Base)
	}
	return nil
}
