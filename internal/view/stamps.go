package view

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
)

// Stamp is what a view remembers of a transaction at which one of its files
// ended. The timestamps tell two histories apart.
type Stamp struct {
	TXID      ltx.TXID
	Timestamp int64 // milliseconds since the Unix epoch

	// Dated means that Timestamp is the timestamp of the transaction. It is
	// false for a snapshot, which carries the time of its creation, and for a
	// doubtful transaction.
	Dated  bool
	Commit uint32 // size of the database after it, in pages
}

// maxStamps is the number of stamps that a view keeps. It keeps the newest.
const maxStamps = 64

// addStamp returns stamps with the stamp of a file appended. It does not change
// stamps.
func addStamp(stamps []Stamp, f *File) []Stamp {
	keep := stamps[max(0, len(stamps)-maxStamps+1):]
	return append(slices.Clip(slices.Clone(keep)), Stamp{f.MaxTXID, f.Timestamp, f.Level != replica.SnapshotLevel, f.Commit})
}

// StampOf returns the timestamp of a transaction. It returns false if v does
// not know it.
func (v *View) StampOf(txid ltx.TXID) (timestamp int64, ok bool) {
	for _, s := range v.stamps {
		if s.TXID == txid && s.Dated {
			return s.Timestamp, true
		}
	}
	return 0, false
}

// leastSince returns the smallest size, in pages, that the database had after
// transaction txid, among the sizes at the ends of the files that made v. It
// returns 0 if that is not known.
func (v *View) leastSince(txid ltx.TXID) uint32 {
	if len(v.stamps) == maxStamps && v.stamps[0].TXID > txid {
		return 0
	}
	least := v.Commit
	for _, s := range v.stamps {
		if s.TXID > txid {
			least = min(least, s.Commit)
		}
	}
	return least
}

// Stamps returns what v remembers of its newest transactions, in ascending order.
// The caller must not change it.
func (v *View) Stamps() []Stamp { return v.stamps }

// txidRange is a range of transactions; after is excluded and upTo is included.
type txidRange struct{ after, upTo ltx.TXID }

// HasDoubtful reports whether IsDoubtful holds for any transaction.
func (v *View) HasDoubtful() bool { return len(v.doubtful) > 0 }

// IsDoubtful reports whether the replica may hold another transaction under
// this number.
func (v *View) IsDoubtful(txid ltx.TXID) bool {
	return slices.ContainsFunc(v.doubtful, func(r txidRange) bool { return txid > r.after && txid <= r.upTo })
}

// ErrDisagrees means that a file belongs to another history than the state that
// it was to be applied to.
var ErrDisagrees = errors.New("it is of another history")

// Bridge decides whether v may be published although some transactions of cur
// are not known to be on the replica. v is cur with file f applied. The replica
// is known to hold the transactions of cur up to upTo, and f covers the later
// ones. If f is of the same history, it contains every page that these
// transactions changed or cut off. If it contains these pages, v is correct
// whatever the transactions were, because v has no page of them any more. In
// that case Bridge returns v with the transactions marked as doubtful.
// Otherwise it returns an error.
func Bridge(cur, v *View, f *File, index ltxio.Index, upTo ltx.TXID) (*View, error) {
	if stamp, ok := cur.StampOf(cur.TXID); ok && f.Level != replica.SnapshotLevel && f.Timestamp < stamp {
		return nil, fmt.Errorf("apply %s: %w: it is older than transaction %s", f, ErrDisagrees, cur.TXID)
	}
	if f.MinTXID > upTo+1 {
		return nil, fmt.Errorf("apply %s: %w: transactions before it are not known", f, ErrDisagrees)
	}
	var lacks *Source
	v.EachSource(func(s Source, _ int) {
		if s.Version > upTo && s.Version != v.TXID {
			lacks = &s
		}
	})
	if lacks != nil {
		return nil, fmt.Errorf("apply %s: %w: it lacks pages that transaction %s has changed", f, ErrDisagrees, lacks.Version)
	}
	// A file with every page of its database, whose index was not read, lacks none.
	least, grown := cur.leastSince(upTo), uint32(0)
	index.Each(func(e ltxio.Entry) bool {
		if e.Pgno > least {
			grown++
		}
		return true
	})
	if lock := ltx.LockPgno(f.PageSize); least < lock && lock <= f.Commit {
		grown++ // the lock page is in no file
	}
	if f.Dense == nil && f.Commit > least && grown < f.Commit-least {
		return nil, fmt.Errorf("apply %s: %w: it lacks pages that were cut off before transaction %s", f, ErrDisagrees, cur.TXID)
	}
	v.doubtful = append(slices.Clip(slices.Clone(v.doubtful)), txidRange{upTo, cur.TXID})
	v.stamps = slices.Clone(v.stamps)
	for i := range v.stamps {
		s := &v.stamps[i]
		s.Dated = s.Dated && !v.IsDoubtful(s.TXID)
	}
	return v, nil
}
