package maintain_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// Names of the files of large.
var (
	snapshot = view.Key{Level: 9, MinTXID: 1, MaxTXID: 5}
	upTo8    = view.Key{Level: 1, MinTXID: 6, MaxTXID: 8}
	only9    = view.Key{MinTXID: 9, MaxTXID: 9}
	only10   = view.Key{MinTXID: 10, MaxTXID: 10}
)

// compact merges files of a bucket to one of a level, and deletes them.
func (b bucket) compact(t testing.TB, level int, keys ...view.Key) view.Key {
	t.Helper()
	var merged bytes.Buffer
	var readers []*bytes.Reader
	for _, key := range keys {
		readers = append(readers, bytes.NewReader(b[key]))
		delete(b, key)
	}
	c, err := ltx.NewCompactor(&merged, asReaders(readers))
	if err == nil {
		c.HeaderFlags = ltx.HeaderFlagNoChecksum
		err = c.Compact(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	key := view.Key{Level: level, MinTXID: keys[0].MinTXID, MaxTXID: keys[len(keys)-1].MaxTXID}
	b[key] = merged.Bytes()
	return key
}

// store writes the files of a bucket to another store.
func (b bucket) store(t testing.TB, to replica.Client) {
	t.Helper()
	for key, body := range b {
		if _, err := to.WriteLTXFile(t.Context(), key.Level, key.MinTXID, key.MaxTXID, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
}

// stored returns a store with the files of a bucket.
func (b bucket) stored(t testing.TB) *memory.ReplicaClient {
	t.Helper()
	to := memory.NewReplicaClient()
	b.store(t, to)
	return to
}

// A copy that watches has each new file once, also when compaction and retention
// change the source, and when the stores fail.
func TestCopy_Watch(t *testing.T) {
	all, _ := large(t)
	synctest.Test(t, func(t *testing.T) {
		b := bucket{snapshot: all[snapshot], upTo8: all[upTo8]}
		want := maps.Clone(b)
		store := memory.NewReplicaClient()
		from := decorate.NewFault(b)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		fail := func(op decorate.Op) {
			from.Add(decorate.Rule{Match: decorate.Ops(op), Err: errors.New("no route to host")})
		}
		var told []error
		var waits []time.Duration
		rounds := 0
		start := time.Now()
		watch := &maintain.Watch{Interval: 5 * time.Second}
		watch.Failed = func(err error, again time.Duration) {
			told, waits = append(told, err), append(waits, again)
			if len(told) == 6 {
				from.Reset()
			}
		}
		watch.Copied = func(c maintain.Copied) {
			rounds++
			wantFiles := 1
			switch rounds {
			case 1:
				wantFiles = 2
				b[only9] = all[only9]
			case 2:
				b.compact(t, 2, upTo8, only9)
			case 3: // the same transactions in another file
				b[only10] = all[only10]
			case 4:
				b.compact(t, 3, view.Key{Level: 2, MinTXID: 6, MaxTXID: 9}, only10)
				fail(decorate.OpList)
			case 5:
				cancel()
			}
			maps.Copy(want, b)
			if c.Files != wantFiles {
				t.Errorf("round %d: copied %+v, want %d files", rounds, c, wantFiles)
			}
		}
		_, err := maintain.Copy(ctx, from, store, maintain.CopyOptions{Watch: watch})
		if !errors.Is(err, context.Canceled) || rounds != 5 {
			t.Fatalf("%d rounds, error %v", rounds, err)
		}
		if len(told) != 6 || waits[0] != 10*time.Second || waits[1] != 20*time.Second || waits[5] != time.Minute {
			t.Errorf("told of %v, and waited %s", told, waits)
		}
		if took := time.Since(start); took < time.Minute {
			t.Errorf("%d rounds took %s", rounds, took)
		}
		if !read(t, store).equal(want) {
			t.Error("other files are there")
		}
	})
}

// A copy that watches stops when the source was rolled back, or when another program
// writes to the copy, and leaves the copy as it is.
func TestCopy_WatchRolledBack(t *testing.T) {
	all, _ := large(t)
	newer := func(key view.Key) func(h *ltx.Header) {
		return func(h *ltx.Header) { h.MinTXID, h.MaxTXID, h.Timestamp = key.MinTXID, key.MaxTXID, h.Timestamp+5000 }
	}
	only11 := view.Key{MinTXID: 11, MaxTXID: 11}
	for i, tt := range []struct {
		name   string
		change func(b bucket, to *memory.ReplicaClient) // of the source, and of the copy
		back   bool
	}{
		{"the newest transaction is gone", func(b bucket, _ *memory.ReplicaClient) { delete(b, only10) }, true},
		{"everything is gone", func(b bucket, _ *memory.ReplicaClient) { clear(b) }, true},
		{"the newest transaction is another one", func(b bucket, _ *memory.ReplicaClient) { b[only10] = reencode(t, b[only10], newer(only10)) }, true},
		{"it went on from there", func(b bucket, _ *memory.ReplicaClient) {
			b[only10] = reencode(t, b[only10], newer(only10))
			b[only11] = reencode(t, b[only10], newer(only11))
		}, true},
		{"it went on from there, and only the compacted file is left", func(b bucket, _ *memory.ReplicaClient) {
			for _, key := range []view.Key{only10, only11} { // they change other pages
				b[key] = reencode(t, all[only9], func(h *ltx.Header) { newer(key)(h); h.Commit = 3050 })
			}
			b.compact(t, 1, only9, only10, only11)
		}, true},
		{"another program writes to the copy", func(b bucket, to *memory.ReplicaClient) {
			other := reencode(t, b[only10], newer(only11))
			if _, err := to.WriteLTXFile(t.Context(), 0, 11, 11, bytes.NewReader(other)); err != nil {
				t.Fatal(err)
			}
			b[only11] = reencode(t, b[only9], newer(only11))
		}, false},
	} {
		if testscale.LeavesOut(i, 3) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := all.stored(t), memory.NewReplicaClient()
				var before bucket
				watch := &maintain.Watch{Copied: func(maintain.Copied) {
					if before != nil {
						t.Error("copied once more")
					}
					b := maps.Clone(all)
					tt.change(b, to)
					for key := range all {
						if b[key] == nil {
							info := ltx.FileInfo{Level: key.Level, MinTXID: key.MinTXID, MaxTXID: key.MaxTXID}
							if err := from.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{&info}); err != nil {
								t.Fatal(err)
							}
						}
					}
					b.store(t, from)
					before = read(t, to)
				}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				_, err := maintain.Copy(ctx, from, to, maintain.CopyOptions{Watch: watch})
				if !errors.Is(err, errs.ErrConflict) || errors.Is(err, maintain.ErrRolledBack) != tt.back {
					t.Errorf("error %v", err)
				}
				if !read(t, to).equal(before) {
					t.Error("the copy was changed")
				}
			})
		})
	}
}
