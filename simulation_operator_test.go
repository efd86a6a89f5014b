package litestream_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// rollBack brings the bucket back to an earlier state while no process runs. Local
// copies of readers stay.
func (w *simWorld) rollBack(rng *rand.Rand) {
	for _, p := range w.processes() {
		if p.isDead() {
			return
		}
		if p.close(); p.vfs != nil || p.again {
			return // commits are waiting for the replica
		}
	}
	w.bucket.Settle()
	reachable, err := w.bucket.Reachable()
	if err != nil || len(reachable) == 0 {
		return
	}
	txid := pick(rng, reachable...)
	if err := w.bucket.RollBack(txid); err != nil {
		w.t.Error(err)
	}
	if w.local == simBreakOrder {
		w.counts.broken++
	} else {
		w.synced = w.bucket.Node(txid)
	}
	for _, p := range w.processes() {
		p.seen = w.bucket.Node(txid)
		p.acked, p.steady, p.base = p.seen, p.seen, p.seen
	}
	w.trace.Add("operator: rolls the bucket back to %d, %s", txid, w.model.Describe(w.bucket.Node(txid)))
}

// newPrimary makes a primary of Litestream, whose files are in the bucket at once.
func (w *simWorld) newPrimary(rng *rand.Rand) {
	w.bucket.AllowAnyStamp()
	w.primary = ltxtest.New(w.t, w.bucket.Client(sim.Fresh, false), ltxtest.Options{
		PageSize: w.plan.pageSize, Start: time.Now(), FrameFormat: rng.IntN(3) == 0, Rollback: rng.IntN(2) == 0,
	})
}

// writePrimary makes a transaction of the primary.
func (w *simWorld) writePrimary(rng *rand.Rand) {
	_, parent := w.bucket.Newest()
	query, rows := w.change(rng, parent, rng.Int64N(1<<40))
	n := w.model.Add(parent, "primary", rows)
	w.model.SetFate(n, sim.Acked)
	if err := sqlExecDB(w.primary.DB(), fmt.Sprintf("PRAGMA user_version = %d", n)); err != nil {
		w.t.Error(err)
	}
	w.primary.Exec(query)
	w.counts.commits++
	w.trace.Add("primary: commits %s", w.model.Describe(n))
	w.markSynced("primary", n)
}

func sqlExecDB(db *sql.DB, query string) error {
	_, err := db.Exec(query)
	return err
}

// mergePrimary merges files of the primary, makes a snapshot, or deletes what was
// merged.
func (w *simWorld) mergePrimary(rng *rand.Rand) {
	newest := w.primary.TXID()
	if newest < 2 {
		return
	}
	switch rng.IntN(4) {
	case 0:
		w.primary.Snapshot()
	case 1:
		w.primary.Snapshot()
		w.primary.DeleteLevelBelow(0, newest)
	default:
		from := 1 + ltx.TXID(rng.Uint64N(uint64(newest)))
		w.primary.Compact(1+rng.IntN(3), from, newest)
	}
}

// restore restores a state by a client in the weather.
func (w *simWorld) restore(rng *rand.Rand) {
	reachable, err := w.bucket.Reachable()
	if err != nil || len(reachable) == 0 {
		return
	}
	txid := pick(rng, reachable...)
	client := w.bucket.Client(fmt.Sprint("operator ", w.trace.Len()), rng.IntN(2) == 0)
	w.restoreBy(client, "operator", txid, w.calm)
}

// restoreBy restores a state and compares it with what it was. Must says that it
// has to succeed.
func (w *simWorld) restoreBy(client litestream.ReplicaClient, by string, txid ltx.TXID, must bool) {
	var got bytes.Buffer
	_, err := maintain.RestoreTo(context.Background(), client, &got, maintain.RestoreOptions{At: maintain.Moment{TXID: txid}, Requests: maintain.Requests{Logger: w.log}})
	w.trace.Add("%s: restore %d: %v", by, txid, err)
	if w.isLate(txid) {
		return
	}
	if err != nil {
		if now, lerr := w.bucket.Reachable(); must && lerr == nil && slices.Contains(now, txid) {
			w.fail(ruleRestorable, "%s: restore transaction %d: %v", by, txid, err)
		}
		return
	}
	w.counts.restores++
	if !bytes.Equal(got.Bytes(), w.bucket.Image(txid)) {
		w.fail(ruleRestorable, "%s: the restored state of transaction %d is not what it was", by, txid)
	}
}

// isLate reports whether the file of a transaction came from a process that was
// dead, after the transaction of that name was merged. Its state cannot be told.
func (w *simWorld) isLate(txid ltx.TXID) bool {
	late, err := w.bucket.Late()
	return err == nil && w.contended && slices.Contains(late, txid)
}

// fork begins a new replica from a state.
func (w *simWorld) fork(rng *rand.Rand) {
	reachable, err := w.bucket.Reachable()
	if err != nil || len(reachable) == 0 {
		return
	}
	txid, to := pick(rng, reachable...), memory.NewReplicaClient()
	client := w.bucket.Client(fmt.Sprint("operator ", w.trace.Len()), rng.IntN(2) == 0)
	_, err = maintain.Fork(context.Background(), client, to, maintain.ForkOptions{At: maintain.Moment{TXID: txid}, Requests: maintain.Requests{Logger: w.log}})
	w.trace.Add("operator: fork at %d: %v", txid, err)
	if err == nil && !w.isLate(txid) {
		w.restoreBy(to, "operator of the fork", txid, true)
	}
}

// maintain merges files, makes a snapshot, or deletes what is not needed, by a
// client in the weather.
func (w *simWorld) maintain(rng *rand.Rand) {
	client := w.bucket.Client(fmt.Sprint("maintainer ", w.trace.Len()), rng.IntN(2) == 0)
	ctx, requests := context.Background(), maintain.Requests{Logger: w.log}
	var err error
	what := pick(rng, "compact", "snapshot", "prune", "verify")
	switch what {
	case "compact":
		_, err = maintain.Compact(ctx, client, maintain.CompactOptions{Requests: requests, Young: rng.IntN(2) == 0, Time: w.clock.Now(), Levels: []time.Duration{3 * time.Second, 30 * time.Second}})
	case "snapshot":
		_, err = maintain.Snapshot(ctx, client, maintain.SnapshotOptions{Requests: requests})
	case "prune":
		var pruned *maintain.Pruned
		for _, txid := range w.bucket.Merged() {
			w.pruned[txid] = true // it says below which of them stay
		}
		pruned, err = maintain.Prune(ctx, client, maintain.PruneOptions{Requests: requests, Keep: maintain.Keep{Last: 1 + rng.IntN(4)}, Time: w.clock.Now(), WriterMayRun: true})
		if err == nil {
			for _, k := range pruned.Keep {
				delete(w.pruned, k.TXID)
			}
		}
	case "verify":
		_, err = maintain.Verify(ctx, client, maintain.VerifyOptions{Requests: requests})
	}
	w.trace.Add("maintainer: %s: %v", what, err)
}
