package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	upstreamlib "github.com/benbjohnson/litestream"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// Upstream's compaction and ours work beside each other at one replica, ours prunes
// it as well, and both go on with what the other one has made. Neither finds a
// conflict or a gap, and both restore every state that is kept.
func TestInteropMaintain_Compaction(t *testing.T) {
	for _, store := range writeStores {
		t.Run(store.name, func(t *testing.T) {
			theirs, our := store.connect(t)(t, "compacted/app.db")
			path := filepath.Join(t.TempDir(), "app.db")
			c := &compactedBeside{t: t, theirs: theirs, our: our}
			c.primary(path)
			makeHistory(t, c.p)
			for round := range 3 {
				c.write(3, round)
				c.theirCompaction(1)
				c.write(2, 100+round)
				// Upstream merges level 1 only, and ours the rest.
				c.ourCompaction(2, 3)
				c.theirCompaction(1)
				c.check(false)
			}
			c.theirCompaction(upstreamlib.SnapshotLevel)
			c.prune(maintain.Keep{Last: 3}, true)
			c.write(3, 200)
			c.theirCompaction(1)
			c.p.deleteCompacted(t)
			c.ourCompaction(2, 3)
			c.check(true)

			// The primary stops. Ours merges all that it has left, and prunes it.
			c.write(3, 300)
			c.p.close()
			c.ourCompaction(1, 2, 3)
			if _, err := maintain.Snapshot(t.Context(), our, maintain.SnapshotOptions{}); err != nil {
				t.Fatal(err)
			}
			c.prune(maintain.Keep{Last: 2}, false)
			c.check(true)

			// It begins again where ours has merged and pruned.
			history := c.p.history
			c.primary(path)
			c.p.history = history
			for round := range 3 {
				c.write(3, 400+round)
				c.theirCompaction(1)
				c.theirCompaction(2)
				c.ourCompaction(3)
			}
			c.theirCompaction(upstreamlib.SnapshotLevel)
			c.p.deleteCompacted(t)
			c.check(true)
			if c.made < 10 {
				t.Errorf("ours has made %d files", c.made)
			}
		})
	}
}

// compactedBeside is a replica that upstream and our library compact.
type compactedBeside struct {
	t      *testing.T
	theirs upstreamlib.ReplicaClient
	our    replica.Client
	p      *upstreamPrimary
	made   int // files that our compaction has made
}

// primary starts upstream's primary.
func (c *compactedBeside) primary(path string) {
	c.t.Helper()
	c.p = newUpstreamPrimaryAt(c.t, c.theirs, path)
	c.p.levels[1].Interval = time.Millisecond
	c.p.levels = append(c.p.levels, &upstreamlib.CompactionLevel{Level: 2, Interval: time.Millisecond})
}

// write commits transactions.
func (c *compactedBeside) write(n, seed int) {
	c.t.Helper()
	for i := range n {
		c.p.commit(c.t, fmt.Sprintf("UPDATE items SET n = %d WHERE id %% 7 = %d", seed+i, i))
	}
}

// theirCompaction makes upstream merge files to a level, if there are any.
func (c *compactedBeside) theirCompaction(level int) {
	c.t.Helper()
	time.Sleep(2 * time.Millisecond) // upstream does not compact twice in one interval
	l := c.p.store.SnapshotLevel()
	if level != l.Level {
		l = c.p.levels[level]
	}
	if _, err := c.p.store.CompactDB(c.t.Context(), c.p.db, l); err != nil && !errors.Is(err, upstreamlib.ErrNoCompaction) && !errors.Is(err, upstreamlib.ErrCompactionTooEarly) {
		c.t.Fatalf("upstream: level %d: %v", level, err)
	}
}

// ourCompaction makes ours merge files to levels which upstream does not merge to,
// and then to the others, as far as upstream would not do it.
func (c *compactedBeside) ourCompaction(levels ...int) {
	c.t.Helper()
	for _, level := range levels {
		r, err := maintain.Compact(c.t.Context(), c.our, maintain.CompactOptions{Level: level, Young: true})
		if err != nil || r.Gap != "" {
			c.t.Fatal(r, err)
		}
		c.made += r.Levels[0].Files
	}
	r, err := maintain.Compact(c.t.Context(), c.our, maintain.CompactOptions{})
	if err != nil || r.Gap != "" {
		c.t.Fatal(r, err)
	}
	for _, l := range r.Levels {
		if l.Files > 0 {
			c.t.Errorf("merged %+v, which upstream would", l)
		}
	}
}

func (c *compactedBeside) prune(keep maintain.Keep, runs bool) {
	c.t.Helper()
	opts := maintain.PruneOptions{Keep: keep, Time: time.Now()}
	if runs {
		if _, err := maintain.Prune(c.t.Context(), c.our, opts); !errors.Is(err, maintain.ErrInUse) {
			c.t.Errorf("prune beside the primary: %v, want ErrInUse", err)
		}
		opts.WriterMayRun = true
	} else {
		opts.Time = opts.Time.Add(time.Hour)
	}
	r, err := maintain.Prune(c.t.Context(), c.our, opts)
	if err != nil || r.Deleted == 0 {
		c.t.Fatal(r, err)
	}
}

// check verifies the replica, and makes both restore every transaction: either both
// can, with the same result, or neither. Only the last one has to be there if some
// were pruned.
func (c *compactedBeside) check(pruned bool) {
	c.t.Helper()
	r, err := maintain.Verify(c.t.Context(), c.our, maintain.VerifyOptions{})
	if err != nil || len(r.Findings) > 0 {
		c.t.Errorf("verify: %v, %v", r.Findings, err)
	}
	for _, at := range c.p.history {
		want := upstreamImage(c.t, c.theirs, at.txid)
		var got bytes.Buffer
		_, err := maintain.RestoreTo(c.t.Context(), c.our, &got, maintain.RestoreOptions{At: maintain.Moment{TXID: at.txid}})
		switch {
		case want == nil && err != nil && pruned && at.txid != c.p.last().txid:
		case want == nil || err != nil || !bytes.Equal(got.Bytes(), want):
			c.t.Errorf("transaction %s: upstream restores %d bytes, ours %d, error %v", at.txid, len(want), got.Len(), err)
		}
	}
	path, err := restoreAt(c.t, c.theirs, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	restored := openSQLite(c.t, path)
	if got := databaseState(c.t, restored); got != c.p.last().state {
		c.t.Errorf("upstream restores\n%s\nwant\n%s", shorten(got), shorten(c.p.last().state))
	}
}
