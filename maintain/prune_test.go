package maintain_test

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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
)

// history is a replica with a primary whose files were merged and deleted in some
// order.
type history struct {
	*ltxtest.Primary
	client *memory.ReplicaClient
	now    time.Time
}

// newHistory plays a random history of some days.
func newHistory(t testing.TB, rng *rand.Rand) *history {
	t.Helper()
	h := &history{client: memory.NewReplicaClient(), now: time.Date(2026, 2, 26, 9, 0, 0, 0, time.UTC)}
	h.Primary = newPrimary(t, h.client, h.now)
	for range 30 + rng.IntN(60) {
		step := time.Duration(rng.Int64N(int64([]time.Duration{10 * time.Second, 10 * time.Minute, 10 * time.Hour}[rng.IntN(3)]))).Truncate(time.Millisecond)
		h.Advance(step)
		h.now = h.now.Add(step)
		h.Exec("REPLACE INTO t VALUES (?, zeroblob(?))", rng.IntN(40), rng.IntN(400))
		switch rng.IntN(12) {
		case 0:
			h.Snapshot()
		case 1:
			if _, err := maintain.Compact(t.Context(), h.client, maintain.CompactOptions{Time: h.now, Level: rng.IntN(4)}); err != nil {
				t.Fatal(err)
			}
		case 2:
			h.DeleteLevelBelow(0, newestOf(read(t, h.client), 1))
		}
	}
	if rng.IntN(3) > 0 {
		if _, err := maintain.Compact(t.Context(), h.client, maintain.CompactOptions{Time: h.now, Young: true}); err != nil {
			t.Fatal(err)
		}
	}
	if rng.IntN(3) == 0 {
		h.Snapshot()
	}
	h.now = h.now.Add(time.Hour)
	return h
}

// newestOf returns the newest transaction of a level.
func newestOf(b bucket, level int) (newest ltx.TXID) {
	for key := range b {
		if key.Level == level {
			newest = max(newest, key.MaxTXID)
		}
	}
	return newest
}

// randomKeep returns a policy.
func randomKeep(rng *rand.Rand, txids []ltx.TXID) (keep maintain.Keep) {
	number := func() int { return max(0, rng.IntN(12)-6) }
	keep = maintain.Keep{Last: number(), Hourly: number(), Daily: number(), Weekly: number(), Monthly: number()}
	if rng.IntN(4) == 0 {
		keep.Within = time.Duration(rng.Int64N(int64(48 * time.Hour)))
	}
	for range max(0, rng.IntN(5)-2) {
		keep.Moments = append(keep.Moments, maintain.Moment{TXID: txids[rng.IntN(len(txids))]})
	}
	if keep.Last+keep.Hourly+keep.Daily+keep.Weekly+keep.Monthly+int(keep.Within)+len(keep.Moments) == 0 {
		keep.Last = 1
	}
	return keep
}

// wantKept returns the states that a policy keeps, one by one as its documentation
// says.
func wantKept(keep maintain.Keep, txids []ltx.TXID, at func(ltx.TXID) time.Time) map[ltx.TXID]bool {
	newest := txids[len(txids)-1]
	want := map[ltx.TXID]bool{newest: true}
	for i, txid := range txids {
		if len(txids)-i <= keep.Last {
			want[txid] = true
		}
		from := at(newest).Add(-keep.Within)
		isAtBeginning := !at(txid).After(from) && (i+1 == len(txids) || at(txids[i+1]).After(from))
		if keep.Within > 0 && (at(txid).After(from) || isAtBeginning) {
			want[txid] = true
		}
	}
	monday := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for n, of := range map[int]func(time.Time) string{
		0: func(t time.Time) string { return t.Format("2006-01-02 15") },
		1: func(t time.Time) string { return t.Format("2006-01-02") },
		2: func(t time.Time) string { return monday.Add(t.Sub(monday).Truncate(7 * 24 * time.Hour)).String() },
		3: func(t time.Time) string { return t.Format("2006-01") },
	} {
		last := map[string]ltx.TXID{}
		for _, txid := range txids {
			last[of(at(txid))] = txid
		}
		ends := slices.Sorted(maps.Values(last))
		for _, txid := range ends[max(0, len(ends)-[]int{keep.Hourly, keep.Daily, keep.Weekly, keep.Monthly}[n]):] {
			want[txid] = true
		}
	}
	for _, m := range keep.Moments {
		want[m.TXID] = true
	}
	return want
}

var pruneSeed = flag.Uint64("prune-seed", 0, "seed of the histories of TestPrune, 0: a random one")

// A policy keeps the states that it says, at each prefix of the deletions, and what
// is left is in order at each of them. What is kept has the content that it had.
func TestPrune(t *testing.T) {
	seed := *pruneSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	deleted, lost, kept := 0, 0, 0
	for range testscale.Repeats(16) {
		h := newHistory(t, rng)
		before := intern(read(t, h.client))
		states := before.states()
		txids := slices.Sorted(maps.Keys(states))
		keep := randomKeep(rng, txids)
		want := wantKept(keep, txids, h.Time)
		r, err := maintain.Prune(t.Context(), h.client, maintain.PruneOptions{Keep: keep, Time: h.now, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if !read(t, h.client).equal(before) || r.Deleted != 0 {
			t.Fatal("a dry run deletes")
		}
		got := map[ltx.TXID]bool{}
		for _, k := range r.Keep {
			got[k.TXID] = true
			if !k.Time.Equal(h.Time(k.TXID)) || len(k.Why) == 0 {
				t.Errorf("kept %+v", k)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("policy %+v keeps %v, want %v", keep, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		left := maps.Clone(before)
		for i, name := range append([]maintain.FileName{{}}, r.Delete...) {
			if _, ok := left[view.Key(name)]; i > 0 && !ok {
				t.Fatalf("there is no %s", name)
			}
			delete(left, view.Key(name))
			reachable := left.reachable()
			for txid := range want {
				if _, ok := slices.BinarySearch(reachable, txid); !ok {
					t.Fatalf("policy %+v: after %d deletions, %s is lost", keep, i, txid)
				}
			}
			if found, err := maintain.Verify(t.Context(), left, maintain.VerifyOptions{Quick: true}); err != nil || len(found.Findings) > 0 || len(found.Lost) > 0 {
				t.Fatalf("policy %+v: after %d of %d deletions, %s: %v, %v", keep, i, len(r.Delete), name, found.Findings, err)
			}
		}
		r, err = maintain.Prune(t.Context(), h.client, maintain.PruneOptions{Keep: keep, Time: h.now})
		if err != nil || r.Deleted != len(r.Delete) {
			t.Fatalf("%+v, %v", r, err)
		}
		after := intern(read(t, h.client))
		if !after.equal(left) || len(after) != r.Files {
			t.Errorf("policy %+v leaves %d files, want %d", keep, len(after), len(left))
		}
		for key := range before {
			above := newestOf(before, key.Level+1)
			unmerged := key.MaxTXID > above && (above > 0 || key.Level < 3) && key.Level < 8
			isBefore := key.Level == 0 && key.MaxTXID == newestOf(before, 0)-1 // that a program which writes compares
			if _, ok := after[key]; !ok && (isBefore || unmerged || key.MaxTXID == newestOf(before, key.Level) && newestOf(after, key.Level) != key.MaxTXID) {
				t.Errorf("policy %+v: compaction or a program that writes cannot go on without %s", keep, key)
			}
		}
		has := after.states()
		for txid := range want {
			if has[txid] != states[txid] {
				t.Errorf("policy %+v: state %s is another one", keep, txid)
			}
		}
		for txid := range has {
			if has[txid] != states[txid] {
				t.Errorf("policy %+v: state %s, which is left, is another one", keep, txid)
			}
		}
		if r.States != len(has) || r.LostStates != len(states)-len(has) {
			t.Errorf("%d states and %d lost, want %d and %d", r.States, r.LostStates, len(has), len(states)-len(has))
		}
		if again, err := maintain.Prune(t.Context(), h.client, maintain.PruneOptions{Keep: keep, Time: h.now}); err != nil || len(again.Delete) > len(r.Delete)/2+5 {
			t.Errorf("a second time deletes %d files more, after %d: %v", len(again.Delete), len(r.Delete), err)
		}
		// The primary writes on, and its files are merged.
		for range 5 {
			h.Advance(time.Minute)
			h.Exec("REPLACE INTO t VALUES (?, zeroblob(?))", rng.IntN(40), rng.IntN(400))
		}
		if c, err := maintain.Compact(t.Context(), h.client, maintain.CompactOptions{Time: h.now, Young: true}); err != nil || c.Gap != "" {
			t.Errorf("compact afterwards: %+v, %v", c, err)
		}
		wantStates(t, h.client, map[ltx.TXID]string{h.TXID(): sum(h.Image(h.TXID()))})
		deleted, lost, kept = deleted+len(r.Delete), lost+r.LostStates, kept+len(want)
	}
	t.Logf("%d files deleted, %d states kept, %d lost", deleted, kept, lost)
}

// Whole databases and snapshots that are older than those which stay are deleted first,
// from the oldest one on, then the other files, from the newest one on, and snapshots
// last. In between, nothing looks as if files were missing.
func TestPrune_Order(t *testing.T) {
	// l0 returns files of level 0, from a later one down to an earlier one.
	l0 := func(last, first ltx.TXID) (keys []view.Key) {
		for txid := last; txid >= first; txid-- {
			keys = append(keys, key(0, txid, txid))
		}
		return keys
	}
	more := layered(t)
	for _, k := range []view.Key{key(3, 1, 6), key(3, 1, 7), key(9, 1, 7)} {
		from := l0(k.MaxTXID, 1)
		slices.Reverse(from)
		made := maps.Clone(more)
		more[made.compact(t, k.Level, from...)] = made[k]
	}
	for _, tt := range []struct {
		name string
		b    bucket
		keep maintain.Keep
		want [][]view.Key
	}{
		{"older than all that stay", layered(t), maintain.Keep{Last: 1},
			[][]view.Key{{key(0, 1, 1), key(1, 1, 4), key(9, 1, 4)}, l0(12, 8), {key(1, 5, 8)}, l0(7, 2)}},
		{"younger than a snapshot that stays", more, maintain.Keep{Moments: []maintain.Moment{{TXID: 4}}},
			[][]view.Key{l0(1, 1), l0(12, 8), {key(1, 5, 8)}, l0(7, 6), {key(3, 1, 6)}, l0(5, 4), {key(1, 1, 4)}, l0(3, 2), {key(9, 1, 7)}}},
	} {
		r, err := maintain.Prune(t.Context(), tt.b, maintain.PruneOptions{Keep: tt.keep, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []view.Key
		for _, name := range r.Delete {
			got = append(got, view.Key(name))
			delete(tt.b, view.Key(name))
			if found, err := maintain.Verify(t.Context(), tt.b, maintain.VerifyOptions{Quick: true}); err != nil || len(found.Findings) > 0 {
				t.Errorf("%s: after the deletion of %s: %v, %v", tt.name, name, found.Findings, err)
			}
		}
		if want := slices.Concat(tt.want...); !slices.Equal(got, want) {
			t.Errorf("%s: deleted are %v, want %v", tt.name, got, want)
		}
	}
}

// A failure of any request leaves every state that is kept, and the next run deletes
// the rest.
func TestPrune_Faults(t *testing.T) {
	h := newHistory(t, rand.New(rand.NewPCG(1, 2)))
	before := intern(read(t, h.client))
	states := before.states()
	opts := maintain.PruneOptions{Keep: maintain.Keep{Daily: 2}, Time: h.now, Requests: maintain.Requests{Concurrency: 1}}
	r, err := maintain.Prune(t.Context(), h.client, opts)
	if err != nil || len(r.Delete) < 5 {
		t.Fatal(r, err)
	}
	want := map[ltx.TXID]string{}
	for _, k := range r.Keep {
		want[k.TXID] = states[k.TXID]
	}
	complete := read(t, h.client)
	for k := int64(1); ; k++ {
		client := memory.NewReplicaClient()
		before.write(t, client)
		faults := decorate.NewFault(client)
		var n atomic.Int64 // an upload runs beside the reads of its content
		faults.Add(decorate.Rule{Match: func(decorate.Call) bool { return n.Add(1) == k }, Err: fs.ErrPermission})
		_, err := maintain.Prune(t.Context(), faults, opts)
		if n.Load() < k {
			if k < 5 || err != nil {
				t.Fatalf("%d requests, error %v", k-1, err)
			}
			return
		}
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("request %d: error %v", k, err)
		}
		wantStates(t, client, want)
		if _, err := maintain.Prune(t.Context(), client, opts); err != nil {
			t.Errorf("after request %d: %v", k, err)
		}
		if !read(t, client).equal(complete) {
			t.Errorf("after request %d: other files are left", k)
		}
	}
}

// Nothing is deleted while a program writes, where transactions are missing, where a
// file that stays cannot be read, and where a state to be kept is not there.
func TestPrune_Refused(t *testing.T) {
	begin := func() (*ltxtest.Primary, *memory.ReplicaClient, time.Time) {
		client := memory.NewReplicaClient()
		start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		p := newPrimary(t, client, start)
		for i := range 9 {
			p.Exec("INSERT INTO t VALUES (?, ?)", i, i)
		}
		p.Compact(1, 1, 10)
		return p, client, start
	}
	keep := maintain.Keep{Last: 1}
	for _, tt := range []struct {
		name string
		age  time.Duration
		keep maintain.Keep
		do   func(p *ltxtest.Primary, faults *decorate.Fault)
		want error
		text string
	}{
		{"young", 59 * time.Second, keep, nil, maintain.ErrInUse, "0/000000000000000a-000000000000000a.ltx is 59s old"},
		{"from the future", -time.Hour, keep, nil, maintain.ErrInUse, "is 0s old"},
		{"a new transaction", time.Hour, keep, func(p *ltxtest.Primary, faults *decorate.Fault) {
			faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) { p.Exec("INSERT INTO t VALUES (100, 1)") }})
		}, maintain.ErrInUse, "0/000000000000000b-000000000000000b.ltx has just come"},
		{"a gap", time.Hour, keep, func(p *ltxtest.Primary, _ *decorate.Fault) {
			p.Exec("INSERT INTO t VALUES (100, 1)")
			p.Exec("INSERT INTO t VALUES (101, 1)")
			p.Delete(0, 11, 11)
		}, nil, "nothing is deleted: replica has a gap: no file holds transaction 000000000000000b"},
		{"a file that cannot be read", time.Hour, keep, func(_ *ltxtest.Primary, faults *decorate.Fault) {
			faults.Add(decorate.Rule{Match: func(c decorate.Call) bool { return c.Op == decorate.OpRead && c.Level == 1 }, Err: fs.ErrPermission})
		}, fs.ErrPermission, "a file that stays cannot be used: read 1/0000000000000001-000000000000000a.ltx"},
		{"a state that is not there", time.Hour, maintain.Keep{Moments: []maintain.Moment{{TXID: 20}}}, nil, errs.ErrTxNotAvailable, "keep transaction 0000000000000014: transaction not available"},
		{"a time that is not there", time.Hour, maintain.Keep{Moments: []maintain.Moment{{Time: time.Unix(0, 0)}}}, nil, errs.ErrTxNotAvailable, "keep 1970-01-01T00:00:00Z"},
		{"no policy", time.Hour, maintain.Keep{}, nil, fs.ErrInvalid, "nothing says which states to keep"},
		{"a negative number", time.Hour, maintain.Keep{Last: 1, Daily: -1}, nil, fs.ErrInvalid, "negative"},
	} {
		p, client, start := begin()
		faults := decorate.NewFault(client)
		if tt.do != nil {
			tt.do(p, faults)
		}
		n := len(read(t, client))
		_, err := maintain.Prune(t.Context(), faults, maintain.PruneOptions{Keep: tt.keep, Time: start.Add(tt.age)})
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.text)
		}
		if after := len(read(t, client)); after < n {
			t.Errorf("%s: deleted %d files", tt.name, n-after)
		}
	}
	// Each rule is a policy of its own. The newest file of level 0 and the one before
	// stay. The states within a time need the files of the
	// one at its beginning.
	for _, tt := range []struct {
		maintain.Keep
		deleted int
	}{
		{maintain.Keep{Last: 1}, 8},
		{maintain.Keep{Hourly: 1}, 8},
		{maintain.Keep{Daily: 1}, 8},
		{maintain.Keep{Weekly: 1}, 8},
		{maintain.Keep{Monthly: 1}, 8},
		{maintain.Keep{Within: 1}, 0},
		{maintain.Keep{Moments: []maintain.Moment{{TXID: 10}}}, 8},
	} {
		_, client, start := begin()
		r, err := maintain.Prune(t.Context(), client, maintain.PruneOptions{Keep: tt.Keep, Time: start.Add(time.Hour)})
		if err != nil || r.Deleted != tt.deleted {
			t.Errorf("%+v: %d files deleted, %v; want %d", tt.Keep, r.Deleted, err, tt.deleted)
		}
	}
	_, client, start := begin()
	if r, err := maintain.Prune(t.Context(), client, maintain.PruneOptions{Keep: keep, Time: start, WriterMayRun: true}); err != nil || r.Deleted != 8 {
		t.Errorf("with the writer's permission: %+v, %v", r, err)
	}
	// Where nothing is to be deleted, it does not matter who writes.
	_, client, start = begin()
	if r, err := maintain.Prune(t.Context(), client, maintain.PruneOptions{Keep: maintain.Keep{Within: time.Hour}, Time: start}); err != nil || len(r.Delete) > 0 {
		t.Errorf("nothing to delete: %+v, %v", r, err)
	}
	// A snapshot that was just made shows no program that writes.
	p, client, start := begin()
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	p.Delete(0, p.TXID(), p.TXID())
	p.Advance(time.Hour)
	p.Exec("INSERT INTO t VALUES (100, 1)")
	p.Snapshot()
	p.Delete(0, p.TXID(), p.TXID())
	if r, err := maintain.Prune(t.Context(), client, maintain.PruneOptions{Keep: keep, Time: start.Add(time.Hour)}); err != nil || r.Deleted != 1 {
		t.Errorf("a new snapshot: %+v, %v", r, err)
	}
	if _, err := maintain.Prune(t.Context(), memory.NewReplicaClient(), maintain.PruneOptions{Keep: keep}); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("no replica: %v", err)
	}
}

// The file that the newest one of level 0 continues stays, also if it is a snapshot: a
// program that has just uploaded the newest file compares it.
func TestPrune_BeforeNewest(t *testing.T) {
	client := memory.NewReplicaClient()
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	p := newPrimary(t, client, start)
	p.Exec("INSERT INTO t VALUES (1, 1)")
	p.Snapshot()
	p.Delete(0, 1, 1)
	p.Delete(0, 2, 2)
	p.Exec("INSERT INTO t VALUES (2, 2)")
	p.Compact(1, 3, 3)
	p.Snapshot()
	prune := func() {
		t.Helper()
		if _, err := maintain.Prune(t.Context(), client, maintain.PruneOptions{Keep: maintain.Keep{Last: 1}, Time: start.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(level int, minTXID, maxTXID ltx.TXID) bool {
		_, ok := read(t, client)[view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}]
		return ok
	}
	prune()
	if !has(9, 1, 2) || !has(0, 3, 3) {
		t.Errorf("left are %v", slices.Collect(maps.Keys(read(t, client))))
	}
	p.Exec("INSERT INTO t VALUES (3, 3)")
	p.Compact(1, 4, 4)
	prune()
	if has(9, 1, 2) || !has(0, 3, 3) || !has(0, 4, 4) {
		t.Errorf("after another transaction, left are %v", slices.Collect(maps.Keys(read(t, client))))
	}
}

// A primary that merges and deletes files meanwhile is no problem: Prune looks again.
func TestPrune_Meanwhile(t *testing.T) {
	client := memory.NewReplicaClient()
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	p := newPrimary(t, client, start)
	for i := range 9 {
		p.Exec("INSERT INTO t VALUES (?, ?)", i, i)
	}
	p.Compact(1, 1, 6)
	faults := decorate.NewFault(client)
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) {
		p.Compact(1, 7, 10)
		for txid := ltx.TXID(7); txid < 10; txid++ {
			p.Delete(0, txid, txid)
		}
	}})
	_, err := maintain.Prune(context.Background(), faults, maintain.PruneOptions{
		Keep: maintain.Keep{Last: 1}, Time: start, WriterMayRun: true, Requests: maintain.Requests{Concurrency: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if after := wantStates(t, client, map[ltx.TXID]string{10: sum(p.Image(10))}); len(after) != 3 {
		t.Errorf("%d files are left", len(after))
	}
}

// Which of several files that serve equally well stays for a state does not depend on how
// many states there are: two calls with one policy keep the same one, although a
// transaction has come between their listings.
func TestPrune_Twice(t *testing.T) {
	client := memory.NewReplicaClient()
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	p := newPrimary(t, client, start)
	for txid := ltx.TXID(2); txid <= 20; txid++ {
		p.Exec("INSERT INTO t VALUES (?, ?)", txid, txid)
		if txid >= 5 && txid <= 7 || txid == 20 {
			p.Snapshot()
		}
	}
	p.Compact(1, 6, 10)
	for txid := ltx.TXID(1); txid <= 20; txid++ {
		p.Delete(0, txid, txid)
	}
	opts := maintain.PruneOptions{Keep: maintain.Keep{Moments: []maintain.Moment{{TXID: 10}}}, Time: start.Add(time.Hour), WriterMayRun: true}
	faults := decorate.NewFault(client)
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpDelete), Times: 1, Before: func(decorate.Call) {
		p.Exec("INSERT INTO t VALUES (21, 21)")
		if r, err := maintain.Prune(t.Context(), client, opts); err != nil || r.Deleted != 2 {
			t.Errorf("the second call: %+v, %v", r, err)
		}
	}})
	if r, err := maintain.Prune(t.Context(), faults, opts); err != nil || r.Deleted != 2 {
		t.Errorf("the first call: %+v, %v", r, err)
	}
	wantStates(t, client, map[ltx.TXID]string{10: sum(p.Image(10)), 21: sum(p.Image(21))})
}
