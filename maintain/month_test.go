package maintain_test

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
)

// A month of writing with compact, snapshot and prune each night, of which some are
// interrupted, keeps every state that was promised, and bounds the number of files.
func TestMonth(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	client := memory.NewReplicaClient()
	p := newPrimary(t, client, start)
	now := start
	advance := func(d time.Duration) { now = now.Add(d); p.Advance(d) }
	keep := maintain.Keep{Within: 26 * time.Hour, Hourly: 48, Daily: 40, Weekly: 4}
	endOfDay := map[string]ltx.TXID{}
	most, made := 0, 0
	for day := range 31 {
		midnight := start.Add(time.Duration(day+1) * 24 * time.Hour)
		for {
			pause := time.Duration(rng.Int64N(int64(28 * time.Minute))).Truncate(time.Millisecond)
			if rng.IntN(3) == 0 {
				pause = time.Duration(rng.Int64N(int64(20 * time.Second))).Truncate(time.Millisecond) // a burst
			}
			if !now.Add(pause).Before(midnight) {
				break
			}
			advance(pause)
			txid := p.Exec("REPLACE INTO t VALUES (?, zeroblob(?))", rng.IntN(100), rng.IntN(400))
			endOfDay[now.Format(time.DateOnly)] = txid
			made++
		}
		advance(midnight.Add(2 * time.Hour).Sub(now)) // nothing is written at night
		if r, err := maintain.Compact(t.Context(), client, maintain.CompactOptions{Time: now}); err != nil || r.Gap != "" {
			t.Fatal(r, err)
		}
		if _, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{}); err != nil {
			t.Fatal(err)
		}
		opts := maintain.PruneOptions{Keep: keep, Time: now}
		txids := read(t, client).reachable()
		want := wantKept(keep, txids, p.Time)
		if rng.IntN(2) == 0 { // it is killed between two deletions
			faults := decorate.NewFault(client)
			left := rng.IntN(3)
			faults.Add(decorate.Rule{Match: func(c decorate.Call) bool {
				if c.Op == decorate.OpDelete {
					left--
				}
				return left < 0
			}, Err: fs.ErrPermission})
			_, _ = maintain.Prune(t.Context(), faults, opts)
			checkMonth(t, client, want, p.Image)
		}
		if _, err := maintain.Prune(t.Context(), client, opts); err != nil {
			t.Fatal(err)
		}
		checkMonth(t, client, want, p.Image)
		most = max(most, len(read(t, client)))
	}
	t.Logf("%d transactions, at most %d files after a night, %d at the end", made, most, len(read(t, client)))
	reachable := read(t, client).reachable()
	for day, txid := range endOfDay {
		if _, ok := slices.BinarySearch(reachable, txid); !ok {
			t.Errorf("the last state of %s, %s, is lost", day, txid)
		}
	}
	// Two days have some 300 transactions and the files made of them, and there are a
	// snapshot and a few files for each night.
	if most > 600 {
		t.Errorf("there are up to %d files", most)
	}
}

// checkMonth restores states, and verifies the replica.
func checkMonth(t *testing.T, client *memory.ReplicaClient, want map[ltx.TXID]bool, image func(ltx.TXID) []byte) {
	t.Helper()
	r, err := maintain.Verify(t.Context(), client, maintain.VerifyOptions{})
	if err != nil || len(r.Findings) > 0 {
		t.Fatalf("%v, %v", r.Findings, err)
	}
	for i, txid := range slices.Sorted(maps.Keys(want)) {
		if len(want)-i > 40 && i%10 > 0 {
			continue // all of them are restorable according to their names, which Prune checks
		}
		var buf bytes.Buffer
		if _, err := maintain.RestoreTo(t.Context(), client, &buf, maintain.RestoreOptions{At: maintain.Moment{TXID: txid}}); err != nil {
			t.Fatalf("restore %s: %v", txid, err)
		}
		if !bytes.Equal(buf.Bytes(), image(txid)) {
			t.Fatalf("state %s is another one", txid)
		}
	}
}
