package write

import (
	"context"
	"errors"
	"fmt"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/view"
)

// fate says what recovery does with a segment that an earlier process left.
type fate int

const (
	fateReplay fate = iota // replay its commits
	fateSynced             // remove it, because its commits are on the replica
	fateEmpty              // remove it, because it has no commits
	fateKeep               // keep it aside
)

func (f fate) String() string { return [...]string{"replay", "synced", "empty", "keep"}[f] }

// leftSegment is a segment that an earlier process left.
type leftSegment struct {
	number uint64
	log    *commitlog.Segment // nil: the file cannot be read as a segment
	s      *segment           // its commits; nil if there are none
	tail   commitlog.Tail     // the bytes after the last commit
	fate   fate
	why    error // why some of its commits are neither replayed nor on the replica; nil if all are
}

// recovery reads what an earlier process left in a write buffer.
type recovery struct {
	segments []*segment // segments to replay, the oldest first
	kept     string     // path of the buffer with the segments that are kept aside; empty if there are none

	*Deps
	b    *writeBuffer
	left []*leftSegment
}

// recoverBuffer reads the segments of a buffer and returns those to replay, which
// follow base, the current view. It removes segments that are on the replica
// already, and keeps aside segments that do not follow base. It keeps a copy of a
// damaged segment as a whole, and replays the commits before the damage. It changes
// nothing before it has read all segments.
func recoverBuffer(ctx context.Context, deps *Deps, b *writeBuffer, base *view.View) (*recovery, error) {
	numbers, err := b.numbers()
	if err != nil {
		return nil, err
	}
	r := &recovery{Deps: deps, b: b}
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
		r.Log.Info("commits were found in the write buffer", "segments", len(r.segments), "last", last.txid(), "pages", last.commit)
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
	case errors.Is(err, commitlog.ErrVersion):
		// If the segment were kept aside, commits of this process would take the
		// place of those in it.
		return nil, fmt.Errorf("%w; open the database with that version to upload its commits, or set another path", err)
	case errors.Is(err, commitlog.ErrInvalid), errors.Is(err, commitlog.ErrDamaged):
		l.fate, l.why = fateKeep, err
		return l, nil
	case err != nil:
		return nil, err
	}
	l.log, l.tail = log, tail
	if len(commits) > 0 {
		l.s = newSegment(log)
		for _, c := range commits {
			l.s.add(&LocalCommit{Commit: c, segment: l.s})
		}
	}
	return l, nil
}

// checkOwner refuses a buffer of another database, so that it can still be
// recovered for that database. A replica may have another name now. If it is not
// empty, its state decides, and commits that follow the state are replayed.
func (r *recovery) checkOwner(base *view.View) error {
	for _, l := range r.left {
		if l.log == nil {
			continue
		}
		switch {
		case l.log.Owner == commitlog.Owner{}:
			if l.fate == fateReplay && base.Last == nil {
				r.Log.Warn("a segment of the write buffer does not name its replica, because an older version wrote it; it is replayed to this one", "segment", l.number)
			}
		case isSameOwner(l.log.Owner, r.Owner), l.fate == fateSynced && l.why == nil, l.fate == fateEmpty:
		case base.Last == nil || l.fate == fateKeep || l.why != nil:
			return fmt.Errorf("%w: %s has commits of %s, and this is %s; open that database with this path to upload them, or set another path for this one",
				errs.ErrForeignBuffer, l.log.Path(), describeOwner(l.log.Owner), describeOwner(r.Owner))
		default:
			r.Log.Info("the write buffer was for another replica with the same state as this one", "segment", l.number, "was", l.log.Owner.Replica, "is", r.Owner.Replica)
		}
	}
	return nil
}

// keep keeps segments aside that have commits which are neither replayed nor on the
// replica.
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
	if err == nil {
		r.Log.Error("commits in the write buffer cannot be replayed, and are kept", "error", why, "segments", len(kept), "kept", r.kept)
	}
	for _, s := range kept {
		if !s.copied && s.log != nil {
			_ = s.log.Close() // it was only read, and no view has pages in it yet
		}
	}
	if err != nil {
		return fmt.Errorf("commits in the write buffer can neither be replayed (%s) nor kept aside: %w", why, err)
	}
	return r.b.do("forget commits", r.b.lock.forget)
}

// clear removes segments without commits to replay, and cuts the others after
// their last commit: the next process may not know that the tail was never
// acknowledged. All that has to be kept was kept aside before.
func (r *recovery) clear() error {
	for _, l := range r.left {
		switch {
		case l.why != nil || l.tail.Size == 0:
		case l.tail.Zeros:
			r.Log.Warn("a segment of the write buffer ends in zeros", "segment", l.number, "bytes", l.tail.Size)
		default:
			r.Log.Info("the write buffer ends in a commit that was not acknowledged", "segment", l.number, "bytes", l.tail.Size)
		}
		switch {
		case l.fate == fateReplay && l.tail.Size > 0:
			if err := r.b.do("cut segment", l.log.Cut); err != nil {
				return fmt.Errorf("cut %s after its last commit: %w", l.log.Path(), err)
			}
			continue
		case l.fate == fateReplay || l.why != nil:
			continue
		case l.fate == fateSynced:
			r.Log.Info("a segment of the write buffer is on the replica already", "txid", l.s.txid())
		case l.log == nil && !r.b.lock.isOurs:
			r.b.ignore(l.number)
			continue
		default:
			r.Log.Info("a segment of the write buffer has no commits", "segment", l.number)
		}
		if err := r.b.removeNumber(l.number); err != nil {
			return err
		}
	}
	return nil
}
