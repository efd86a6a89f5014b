package maintain_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// write stores the files of a bucket, which have to be intact, at a place.
func (b bucket) write(t testing.TB, to replica.Client) {
	t.Helper()
	for key, body := range b {
		if _, err := to.WriteLTXFile(t.Context(), key.Level, key.MinTXID, key.MaxTXID, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
}

// stored returns a replica in memory with the files of a folder, and the sums of
// their states.
func stored(t testing.TB, dir string) (*memory.ReplicaClient, map[ltx.TXID]string) {
	t.Helper()
	b := intern(readBucket(t, dir))
	client := memory.NewReplicaClient()
	b.write(t, client)
	return client, b.states()
}

// bodies are those of interned files, by their sums.
var bodies sync.Map

// intern makes equal files the same slice, so that their states are made once.
func intern(b bucket) bucket {
	for key, body := range b {
		known, _ := bodies.LoadOrStore(sum(body), body)
		b[key] = known.([]byte)
	}
	return b
}

// wantStates verifies a replica, and compares its states with those of a model. It
// may have more of them.
func wantStates(t testing.TB, client replica.Client, want map[ltx.TXID]string) bucket {
	t.Helper()
	b := intern(read(t, client))
	got := b.states()
	for txid, sum := range want {
		if got[txid] != sum {
			t.Errorf("state %s is another one, or gone", txid)
		}
	}
	r, err := maintain.Verify(t.Context(), client, maintain.VerifyOptions{})
	if err != nil || len(r.Findings) > 0 {
		t.Errorf("verify: %v, %v", r.Findings, err)
	}
	return b
}

// Every state of every replica can become a snapshot. Restored from it, the state
// is the same.
func TestSnapshot(t *testing.T) {
	for i, dir := range replicas(t) {
		if testscale.LeavesOut(i, 4) {
			continue
		}
		b := readBucket(t, dir)
		txids := b.reachable()
		for i, txid := range txids {
			if i < len(txids)-1 && (testscale.Race || i > 1 && i%7 > 0) {
				continue
			}
			client, want := stored(t, dir)
			var last maintain.Progress
			r, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{
				At: maintain.Moment{TXID: txid}, Requests: maintain.Requests{Progress: func(p maintain.Progress) { last = p }},
			})
			if err != nil || r.TXID != txid {
				t.Fatalf("%s, %s: %+v, %v", dir, txid, r, err)
			}
			if r.Made && (last.Bytes != last.AllBytes || last.Files != last.AllFiles || r.Files != last.Files) {
				t.Errorf("%s, %s: %+v ends with %+v", dir, txid, r, last)
			}
			after := wantStates(t, client, want)
			key := view.Key(r.File)
			if key.Level != replica.SnapshotLevel || r.Bytes != int64(len(after[key])) {
				t.Errorf("%s, %s: made %+v", dir, txid, r)
			}
			only := bucket{key: after[key]}
			if got := only.states(); got[txid] != want[txid] {
				t.Errorf("%s, %s: the snapshot has another state", dir, txid)
			}
			if again, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{At: maintain.Moment{TXID: txid}}); err != nil || again.Made || again.File != r.File || again.Bytes != r.Bytes {
				t.Errorf("%s, %s: a second time %+v, %v", dir, txid, again, err)
			}
		}
	}
}

// A failure of any request ends the command with an error or not at all. What was
// there stays, every file that comes is whole, and the next run does the rest.
func TestChanges_Faults(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(context.Context, replica.Client) error
	}{
		{"snapshot", func(ctx context.Context, client replica.Client) error {
			_, err := maintain.Snapshot(ctx, client, maintain.SnapshotOptions{Requests: maintain.Requests{Concurrency: 1}})
			return err
		}},
		{"compact", func(ctx context.Context, client replica.Client) error {
			_, err := maintain.Compact(ctx, client, maintain.CompactOptions{Requests: maintain.Requests{Concurrency: 1}})
			return err
		}},
	} {
		client := memory.NewReplicaClient()
		p := newPrimary(t, client, time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
		for i := range 12 {
			p.Advance(10 * time.Second)
			p.Exec("INSERT INTO t VALUES (?, ?)", i, i)
		}
		before := intern(read(t, client))
		want := before.states()
		if err := tt.run(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		complete := read(t, client)
		for k := int64(1); ; k++ {
			client := memory.NewReplicaClient()
			before.write(t, client)
			faults := decorate.NewFault(client)
			var n atomic.Int64 // an upload runs beside the reads of its content
			faults.Add(decorate.Rule{Match: func(decorate.Call) bool { return n.Add(1) == k }, Err: fs.ErrPermission})
			err := tt.run(t.Context(), faults)
			if n.Load() < k {
				if k < 10 || err != nil {
					t.Fatalf("%s makes %d requests, error %v", tt.name, k-1, err)
				}
				break
			}
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s, request %d: error %v", tt.name, k, err)
			}
			wantStates(t, client, want)
			if err := tt.run(t.Context(), client); err != nil {
				t.Errorf("%s, after request %d: %v", tt.name, k, err)
			}
			if after := read(t, client); !after.equal(complete) {
				t.Errorf("%s, after request %d: %d files, want %d", tt.name, k, len(after), len(complete))
			}
		}
	}
}

// A file that is damaged ends a merge with an error that names it.
func TestSnapshot_Damaged(t *testing.T) {
	b := readBucket(t, "../testdata/replicas/broken/base")
	key := view.Key{MinTXID: 8, MaxTXID: 8}
	b[key] = bytes.Clone(b[key])
	b[key][150] ^= 4
	_, err := maintain.Snapshot(t.Context(), writable{b}, maintain.SnapshotOptions{})
	if !errors.Is(err, errs.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(key.String())) {
		t.Errorf("error %v, want that %s is damaged", err, key)
	}
	if len(b) != 9 {
		t.Errorf("%d files", len(b))
	}
	if _, err := maintain.Snapshot(t.Context(), memory.NewReplicaClient(), maintain.SnapshotOptions{}); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("no replica: error %v", err)
	}
}

// writable is a bucket that can be written to. It is not safe for concurrent
// writes.
type writable struct{ bucket }

var _ replica.LTXFileCreator = writable{}

func (w writable) WriteLTXFile(_ context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	key := view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
	w.bucket[key] = body
	return w.info(key), nil
}

func (w writable) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if _, ok := w.bucket[view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}]; ok {
		return nil, fs.ErrExist
	}
	return w.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}

func (w writable) DeleteLTXFiles(_ context.Context, files []*ltx.FileInfo) error {
	for _, f := range files {
		delete(w.bucket, view.KeyOf(f))
	}
	return nil
}

// A file that is damaged on its way to the store is found, and does not stay.
func TestSnapshot_ReadBack(t *testing.T) {
	b := readBucket(t, "../testdata/replicas/broken/base")
	n := len(b)
	client := flipping{writable{b}}
	if _, err := maintain.Snapshot(t.Context(), client, maintain.SnapshotOptions{}); !errors.Is(err, errs.ErrCorrupt) {
		t.Errorf("error %v, want one about the new file", err)
	}
	if len(b) != n {
		t.Errorf("%d files, want the %d from before", len(b), n)
	}
}

// flipping is a store that damages what it creates.
type flipping struct{ writable }

func (f flipping) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	info, err := f.writable.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
	if err == nil {
		f.bucket[view.KeyOf(info)][150] ^= 1
	}
	return info, err
}

// newPrimary returns a primary whose clock only Advance moves.
func newPrimary(t testing.TB, client replica.Client, start time.Time) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, client, ltxtest.Options{PageSize: 512, Start: start, Step: -1})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
	return p
}

// Files are merged window by window, and what a primary would merge is left alone.
// Every state stays.
func TestCompact(t *testing.T) {
	start := time.Date(2026, 3, 1, 9, 59, 50, 0, time.UTC)
	client := memory.NewReplicaClient()
	p := newPrimary(t, client, start)
	for i := range 400 { // 66 minutes
		p.Advance(10 * time.Second)
		p.Exec("REPLACE INTO t VALUES (?, ?)", i%20, i)
	}
	states := read(t, client).states()
	now := start.Add(400 * 10 * time.Second)
	compact := func(now time.Time, level int, young bool) []maintain.CompactedLevel {
		t.Helper()
		r, err := maintain.Compact(t.Context(), client, maintain.CompactOptions{Level: level, Young: young, Time: now})
		if err != nil || r.Gap != "" {
			t.Fatal(r, err)
		}
		wantStates(t, client, states)
		for i := range r.Levels {
			if (r.Levels[i].Bytes > 0) != (r.Levels[i].Files > 0) {
				t.Errorf("%+v", r.Levels[i])
			}
			r.Levels[i].Bytes = 0
		}
		return r.Levels
	}
	// The clock is at 11:06:30. The last window of 30 seconds that is old enough
	// ends at 11:05:30, the one of 5 minutes at 10:55, and there is none of an hour
	// besides the one up to 10:00, which ends 66 minutes ago and needs two hours.
	want := []maintain.CompactedLevel{{Level: 1, Files: 132, Of: 394, Left: 7}, {Level: 2, Files: 12, Of: 111, Left: 21}, {Level: 3, Left: 12}}
	if got := compact(now, 0, false); !slices.Equal(got, want) {
		t.Errorf("merged %+v, want %+v", got, want)
	}
	if got := compact(now, 0, false); got[0].Files+got[1].Files+got[2].Files != 0 {
		t.Errorf("merged %+v again", got)
	}
	for key := range read(t, client) {
		if key.Level == 0 {
			continue
		}
		length := maintain.DefaultLevels()[key.Level-1]
		if first, last := p.Time(key.MinTXID), p.Time(key.MaxTXID); first.Truncate(length) != last.Truncate(length) {
			t.Errorf("%s lasts from %s to %s", key, first, last)
		}
	}
	if got := compact(now, 3, true); !slices.Equal(got, []maintain.CompactedLevel{{Level: 3, Files: 2, Of: 12}}) {
		t.Errorf("young: %+v", got)
	}
	compact(now.Add(time.Hour), 0, false)
	if got := compact(now.Add(24*time.Hour), 0, false); got[0].Left+got[1].Left+got[2].Left != 0 {
		t.Errorf("after a day: %+v", got)
	}
}

// A gap ends a level, and a snapshot that fills it lets it go on.
func TestCompact_Gap(t *testing.T) {
	for _, filled := range []bool{false, true} {
		client := memory.NewReplicaClient()
		start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		p := newPrimary(t, client, start)
		for i := range 30 {
			p.Advance(10 * time.Second)
			p.Exec("INSERT INTO t VALUES (?, ?)", i, i)
			if filled && i == 20 {
				p.Snapshot()
			}
		}
		p.Delete(0, 15, 16)
		for txid := ltx.TXID(15); txid <= 16; txid++ {
			p.Delete(0, txid, txid)
		}
		before := read(t, client).states()
		r, err := maintain.Compact(t.Context(), client, maintain.CompactOptions{Time: start.Add(24 * time.Hour)})
		if err != nil || (r.Gap == "") != filled {
			t.Fatalf("filled %v: %+v, error %v", filled, r, err)
		}
		after := read(t, client)
		if got := after.states(); !maps.Equal(got, before) {
			t.Errorf("filled %v: %d states, want %d", filled, len(got), len(before))
		}
		var newest ltx.TXID
		for key := range after {
			if key.Level == 1 {
				newest = max(newest, key.MaxTXID)
			}
		}
		if want := map[bool]ltx.TXID{false: 14, true: 31}[filled]; newest != want {
			t.Errorf("filled %v: level 1 ends at %s, want %s", filled, newest, want)
		}
	}
}

// Only files of the level below are merged into a level. If it lacks transactions that a
// file of a higher level has, the level goes on after them.
func TestCompact_HigherLevel(t *testing.T) {
	client := memory.NewReplicaClient()
	p := newPrimary(t, client, time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	for i := range 15 {
		p.Exec("INSERT INTO t VALUES (?, ?)", i, i)
	}
	p.Compact(3, 1, 12)
	p.Compact(2, 1, 8)
	p.Compact(1, 13, 16)
	p.DeleteLevelBelow(0, 17)
	before := read(t, client)
	r, err := maintain.Compact(t.Context(), client, maintain.CompactOptions{Level: 2, Young: true})
	if err != nil || r.Gap != "" {
		t.Fatal(r, err)
	}
	after := read(t, client)
	merged := key(2, 13, 16)
	if len(after) != len(before)+1 || after[merged] == nil {
		t.Errorf("left are %v, want %s as well", slices.Collect(maps.Keys(after)), merged)
	}
}

// A level is not left out without an error because the times of its files cannot be
// read.
func TestCompact_TimesFail(t *testing.T) {
	b := layered(t)
	faults := decorate.NewFault(writable{b}) // whose listings have no times
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: fs.ErrPermission})
	if r, err := maintain.Compact(t.Context(), faults, maintain.CompactOptions{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%+v, error %v", r, err)
	}
}

// A snapshot that is there is told of, and nothing is made. This includes one that was
// uploaded while the reply was lost, unless it cannot be found.
func TestSnapshot_There(t *testing.T) {
	b := layered(t)
	ten := maintain.SnapshotOptions{At: maintain.Moment{TXID: 10}}
	want := maintain.Snapshotted{TXID: 10, File: maintain.FileName(key(9, 1, 10)), Bytes: int64(len(b[key(9, 1, 10)]))}
	if r, err := maintain.Snapshot(t.Context(), b, ten); err != nil || *r != want {
		t.Errorf("%+v, error %v, want %+v", r, err, want)
	}
	var last maintain.Progress
	if r, err := maintain.Snapshot(t.Context(), b.stored(t), maintain.SnapshotOptions{Requests: maintain.Requests{Progress: func(p maintain.Progress) { last = p }}}); err != nil || r.Files != 6 {
		t.Errorf("%+v, error %v", r, err)
	}
	if last.Files != 6 || last.AllFiles != 6 || last.Bytes != last.AllBytes {
		t.Errorf("progress ends with %+v", last)
	}
	for _, isListed := range []bool{true, false} {
		faults := decorate.NewFault(b.stored(t))
		faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), Times: 1, At: decorate.AtEnd, Err: errors.New("connection reset"), After: func(decorate.Call, error) {
			if !isListed {
				faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpList), Err: fs.ErrPermission})
			}
		}})
		r, err := maintain.Snapshot(t.Context(), faults, maintain.SnapshotOptions{})
		if !isListed {
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("it cannot be found: %+v, error %v", r, err)
			}
			continue
		}
		size := int64(len(read(t, faults)[key(9, 1, 16)]))
		if err != nil || r.File != maintain.FileName(key(9, 1, 16)) || r.Bytes != size || size == 0 || r.Made {
			t.Errorf("the reply was lost: %+v, error %v, want a snapshot of %d bytes", r, err, size)
		}
	}
}

// A primary that compacts meanwhile takes files away.
func TestCompact_Gone(t *testing.T) {
	client := memory.NewReplicaClient()
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	p := newPrimary(t, client, start)
	for i := range 6 {
		p.Advance(10 * time.Second)
		p.Exec("INSERT INTO t VALUES (?, ?)", i, i)
	}
	want := map[ltx.TXID]string{p.TXID(): sum(p.Image(p.TXID()))}
	faults := decorate.NewFault(client)
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) {
		p.Compact(1, 1, 4)
		for txid := ltx.TXID(1); txid <= 4; txid++ {
			p.Delete(0, txid, txid)
		}
	}})
	r, err := maintain.Compact(t.Context(), faults, maintain.CompactOptions{Time: start.Add(24 * time.Hour), Requests: maintain.Requests{Concurrency: 1}})
	if err != nil {
		t.Fatal(r, err)
	}
	wantStates(t, client, want)
}

// Options out of their ranges are errors.
func TestCompact_Options(t *testing.T) {
	for _, opts := range []maintain.CompactOptions{{Level: -1}, {Level: 4}, {Levels: make([]time.Duration, 1)}, {Levels: slices.Repeat([]time.Duration{time.Hour}, 9)}} {
		if _, err := maintain.Compact(t.Context(), memory.NewReplicaClient(), opts); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%+v: error %v", opts, err)
		}
	}
}
