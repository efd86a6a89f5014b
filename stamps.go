package litestream

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
)

// stamp is what a view remembers of a transaction at which one of its files
// ended. The timestamps tell two histories apart.
type stamp struct {
	txid      ltx.TXID
	timestamp int64 // milliseconds since the Unix epoch
	// dated means that timestamp is the timestamp of the transaction. It is
	// false for a snapshot, which carries the time of its creation, and for a
	// doubtful transaction.
	dated  bool
	commit uint32 // size of the database after it, in pages
}

// maxStamps is the number of stamps that a view keeps. It keeps the newest.
const maxStamps = 64

// addStamp returns stamps with the stamp of a file appended. It does not change
// stamps.
func addStamp(stamps []stamp, f *ltxFile) []stamp {
	keep := stamps[max(0, len(stamps)-maxStamps+1):]
	return append(slices.Clip(slices.Clone(keep)), stamp{f.maxTXID, f.timestamp, f.level != replica.SnapshotLevel, f.commit})
}

// stampOf returns the timestamp of a transaction. It returns false if v does
// not know it.
func (v *view) stampOf(txid ltx.TXID) (timestamp int64, ok bool) {
	for _, s := range v.stamps {
		if s.txid == txid && s.dated {
			return s.timestamp, true
		}
	}
	return 0, false
}

// leastSince returns the smallest size, in pages, that the database had after
// transaction txid, among the sizes at the ends of the files that made v. It
// returns 0 if that is not known.
func (v *view) leastSince(txid ltx.TXID) uint32 {
	if len(v.stamps) == maxStamps && v.stamps[0].txid > txid {
		return 0
	}
	least := v.commit
	for _, s := range v.stamps {
		if s.txid > txid {
			least = min(least, s.commit)
		}
	}
	return least
}

// txidRange is a range of transactions; after is excluded and upTo is included.
type txidRange struct{ after, upTo ltx.TXID }

// isDoubtful reports whether the replica may hold another transaction under
// this number.
func (v *view) isDoubtful(txid ltx.TXID) bool {
	return slices.ContainsFunc(v.doubtful, func(r txidRange) bool { return txid > r.after && txid <= r.upTo })
}

// errDisagrees means that a file belongs to another history than the state that
// it was to be applied to.
var errDisagrees = errors.New("it is of another history")

// bridge decides whether v may be published although some transactions of cur
// are not known to be on the replica. v is cur with file f applied. The replica
// is known to hold the transactions of cur up to upTo, and f covers the later
// ones. If f is of the same history, it contains every page that these
// transactions changed or cut off. If it contains these pages, v is correct
// whatever the transactions were, because v has no page of them any more. In
// that case bridge returns v with the transactions marked as doubtful.
// Otherwise it returns an error.
func bridge(cur, v *view, f *ltxFile, index ltxio.Index, upTo ltx.TXID) (*view, error) {
	if stamp, ok := cur.stampOf(cur.txid); ok && f.level != replica.SnapshotLevel && f.timestamp < stamp {
		return nil, fmt.Errorf("apply %s: %w: it is older than transaction %s", f, errDisagrees, cur.txid)
	}
	if f.minTXID > upTo+1 {
		return nil, fmt.Errorf("apply %s: %w: transactions before it are not known", f, errDisagrees)
	}
	var lacks *source
	v.eachSource(func(s source, _ int) {
		if s.version > upTo && s.version != v.txid {
			lacks = &s
		}
	})
	if lacks != nil {
		return nil, fmt.Errorf("apply %s: %w: it lacks pages that transaction %s has changed", f, errDisagrees, lacks.version)
	}
	least, grown := cur.leastSince(upTo), uint32(0)
	index.Each(func(e ltxio.Entry) bool {
		if e.Pgno > least {
			grown++
		}
		return true
	})
	if lock := ltx.LockPgno(f.pageSize); least < lock && lock <= f.commit {
		grown++ // the lock page is in no file
	}
	if f.commit > least && grown < f.commit-least {
		return nil, fmt.Errorf("apply %s: %w: it lacks pages that were cut off before transaction %s", f, errDisagrees, cur.txid)
	}
	v.doubtful = append(slices.Clip(slices.Clone(v.doubtful)), txidRange{upTo, cur.txid})
	v.stamps = slices.Clone(v.stamps)
	for i := range v.stamps {
		s := &v.stamps[i]
		s.dated = s.dated && !v.isDoubtful(s.txid)
	}
	return v, nil
}
