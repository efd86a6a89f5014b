package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/superfly/ltx"
)

// recovery is what an earlier process left in a write buffer.
type recovery struct {
	segments []*segment // that follow the state of the replica, the oldest first

	db    *database
	b     *writeBuffer
	aside []*commitlog.Segment // that cannot be replayed
	why   error                // why
}

// recoverBuffer reads the segments of a buffer. Those that are on the replica
// already are removed; those that do not belong there are kept aside.
func recoverBuffer(ctx context.Context, db *database, b *writeBuffer, base *view) (*recovery, error) {
	numbers, err := b.numbers()
	if err != nil {
		return nil, err
	}
	r := &recovery{db: db, b: b}
	for _, n := range numbers {
		if err := r.add(ctx, n, base); err != nil {
			return nil, err
		}
	}
	if len(r.aside) > 0 {
		path, err := b.keepAside(r.aside)
		db.log.Error("commits in the write buffer cannot be replayed, and are kept", "error", r.why, "segments", len(r.aside), "kept", path)
		if err != nil {
			return nil, err
		}
	}
	if len(r.segments) > 0 {
		last := r.segments[len(r.segments)-1]
		db.log.Info("commits were found in the write buffer", "segments", len(r.segments), "last", last.txid(), "pages", last.commit)
	}
	return r, nil
}

// add reads a segment.
func (r *recovery) add(ctx context.Context, number uint64, base *view) error {
	var s *segment
	var commits []commitlog.Commit
	log, lost, err := r.b.open(number, func(c commitlog.Commit) error {
		commits = append(commits, c)
		return nil
	})
	if errors.Is(err, commitlog.ErrNoHeader) {
		r.db.log.Info("a segment of the write buffer ends before its first commit", "error", err)
		return removeFile(r.b.segmentPath(number))
	}
	if errors.Is(err, commitlog.ErrInvalid) || errors.Is(err, commitlog.ErrVersion) {
		path, rerr := r.b.rename(number)
		r.db.log.Error("a segment of the write buffer cannot be read, and is kept", "kept", path, "error", err)
		return rerr
	}
	if err != nil {
		return err
	}
	if lost > 0 {
		r.db.log.Warn("the write buffer ends in a commit that was not written whole", "segment", number, "bytes", lost)
	}
	if len(commits) == 0 {
		return r.b.remove(log) // made for a commit that never was
	}
	s = newSegment(log)
	for _, c := range commits {
		s.add(&localCommit{Commit: c, segment: s})
	}
	done, err := r.isSynced(ctx, s, base)
	if err != nil {
		return err
	}
	if done {
		r.db.log.Info("a segment of the write buffer is on the replica already", "txid", s.txid())
		return r.b.remove(log)
	}
	why, err := r.mismatch(ctx, s, base)
	if err != nil {
		return err
	}
	if why != nil {
		r.why = errors.Join(r.why, fmt.Errorf("%d commits after transaction %s: %w", s.commits, s.log.Base, why))
		r.aside = append(r.aside, log)
		return nil
	}
	r.segments = append(r.segments, s)
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
	files, err := r.db.store.list(ctx, key.level, key.minTXID, false)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if keyOf(f) != key {
			continue
		}
		sum, err := r.db.store.checksum(ctx, f)
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
	if err := e.encode(io.Discard, s); err != nil {
		return false, err
	}
	if base.last != nil && base.txid == s.txid() {
		if base.last.level == 0 {
			return base.last.checksum == e.trailer.FileChecksum, nil
		}
		return base.last.level != SnapshotLevel && base.timestamp == s.newest && base.commit == s.commit, nil
	}
	files, err := r.db.store.list(ctx, 0, s.txid(), false)
	if err != nil {
		return false, err
	}
	for _, f := range files {
		if keyOf(f) == (fileKey{0, s.txid(), s.txid()}) {
			sum, err := r.db.store.checksum(ctx, f)
			return err == nil && sum == e.trailer.FileChecksum, err
		}
	}
	return false, nil
}

// number gives the pages of a recovered segment a version, by the number of its
// last commit.
func (s *segment) number(n uint64) {
	s.last = n
	version := localVersion | ltx.TXID(n)
	for pgno, p := range s.pages {
		p.version = version
		s.pages[pgno] = p
	}
}
