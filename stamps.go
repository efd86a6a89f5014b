package litestream

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// stamp is what a view knows of a transaction at which a file ended that made
// it. Two histories can be told apart by timestamps.
type stamp struct {
	txid      ltx.TXID
	timestamp int64  // ms since the Unix epoch
	dated     bool   // the timestamp is that of the transaction, which a snapshot's is not, and a doubtful one's may not be
	commit    uint32 // size of the database after it, pages
}

// maxStamps is how many of them a view knows, the newest.
const maxStamps = 64

// addStamp returns stamps, which stay as they are, and that of a file.
func addStamp(stamps []stamp, f *ltxFile) []stamp {
	keep := stamps[max(0, len(stamps)-maxStamps+1):]
	return append(slices.Clip(slices.Clone(keep)), stamp{f.maxTXID, f.timestamp, f.level != SnapshotLevel, f.commit})
}

// stampOf returns the timestamp of a transaction, if v knows it.
func (v *view) stampOf(txid ltx.TXID) (timestamp int64, ok bool) {
	for _, s := range v.stamps {
		if s.txid == txid && s.dated {
			return s.timestamp, true
		}
	}
	return 0, false
}

// leastSince returns the least size that the database had after a transaction,
// at the end of a file that made v. It is 0 if that is not known.
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

// txidRange is the transactions after one, up to another.
type txidRange struct{ after, upTo ltx.TXID }

// isDoubtful tells whether it is not known that a transaction is the one that
// the replica has.
func (v *view) isDoubtful(txid ltx.TXID) bool {
	return slices.ContainsFunc(v.doubtful, func(r txidRange) bool { return txid > r.after && txid <= r.upTo })
}

// errDisagrees means that a file is of another history than the state that it
// was to be applied to.
var errDisagrees = errors.New("it is of another history")

// bridge returns v, which is the state of cur with the file f applied, for a
// replica that is known to hold cur's transactions only as far as one: f covers
// those that came after it. If it is of the same history, it holds each page that they
// have changed or cut off. If it does, v is right whatever they were: it has no
// page of any of them any more.
func bridge(cur, v *view, f *ltxFile, index ltxio.Index, upTo ltx.TXID) (*view, error) {
	if stamp, ok := cur.stampOf(cur.txid); ok && f.level != SnapshotLevel && f.timestamp < stamp {
		return nil, fmt.Errorf("apply %s: %w: it is older than transaction %s", f, errDisagrees, cur.txid)
	}
	if f.minTXID > upTo+1 {
		return nil, fmt.Errorf("apply %s: %w: transactions before it are not known", f, errDisagrees)
	}
	var lacks *source
	v.pages.sources.each(func(s source, _ int) {
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
		grown++ // no file has it
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
