package maintain_test

import (
	"bytes"
	"context"
	"errors"
	"io"
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
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// layered returns a replica whose transactions are on several levels: 1 to 16 on
// level 0, 1 to 12 on level 1 in files of four, 1 to 8 on level 2, and snapshots of 4
// and 10.
func layered(t testing.TB) bucket {
	t.Helper()
	client := memory.NewReplicaClient()
	p := newPrimary(t, client, time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	for txid := ltx.TXID(2); txid <= 16; txid++ {
		p.Advance(time.Second)
		p.Exec("INSERT INTO t VALUES (?, zeroblob(100))", txid)
		if txid == 4 || txid == 10 {
			p.Snapshot()
		}
	}
	for _, f := range []maintain.FileName{{Level: 1, MinTXID: 1, MaxTXID: 4}, {Level: 1, MinTXID: 5, MaxTXID: 8}, {Level: 1, MinTXID: 9, MaxTXID: 12}, {Level: 2, MinTXID: 1, MaxTXID: 8}} {
		p.Compact(f.Level, f.MinTXID, f.MaxTXID)
	}
	return intern(read(t, client))
}

// usable returns the sums of the states that can be restored: those for which the
// files are intact that readers use.
func (b bucket) usable(t testing.TB) map[ltx.TXID]string {
	t.Helper()
	states := intern(b).states()
	maps.DeleteFunc(states, func(txid ltx.TXID, _ string) bool {
		plan, err := view.PlanTXID(0, txid, b.infos())
		return err != nil || slices.ContainsFunc(plan, func(f *ltx.FileInfo) bool { return !isIntact(f, b[view.KeyOf(f)]) })
	})
	return states
}

// isIntact reports whether a file is what its name says.
func isIntact(info *ltx.FileInfo, body []byte) bool {
	f, err := ltxio.ParseFile(body, info.MinTXID, info.MaxTXID)
	return err == nil && f.Verify(func(uint32, []byte) {}) == nil && (info.Level != replica.SnapshotLevel || info.MinTXID == 1)
}

func key(level int, minTXID, maxTXID ltx.TXID) view.Key {
	return view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
}

func flip(body []byte) []byte {
	body = bytes.Clone(body)
	body[len(body)/2] ^= 8
	return body
}

// What is damaged is repaired where intact files hold the same, and nothing is done
// otherwise.
func TestRepair(t *testing.T) {
	l0 := func(txid ltx.TXID) view.Key { return key(0, txid, txid) }
	onlyL0 := func(b bucket) {
		maps.DeleteFunc(b, func(k view.Key, _ []byte) bool { return k.Level > 0 })
	}
	for _, tt := range []struct {
		name  string
		do    func(b bucket)
		steps []string
		lost  []ltx.TXID // states that cannot be had, of 1 to 16
	}{
		{"a flipped snapshot", func(b bucket) { b[key(9, 1, 10)] = flip(b[key(9, 1, 10)]) },
			[]string{"rebuild 9/0000000000000001-000000000000000a.ltx from 3 files, 2/0000000000000001-0000000000000008.ltx to 0/000000000000000a-000000000000000a.ltx"}, nil},
		{"a flipped file of level 1 with its sources", func(b bucket) { b[key(1, 5, 8)] = flip(b[key(1, 5, 8)]) },
			[]string{"rebuild 1/0000000000000005-0000000000000008.ltx from 4 files, 0/0000000000000005-0000000000000005.ltx to 0/0000000000000008-0000000000000008.ltx"}, nil},
		{"a file of level 2 and one of its sources", func(b bucket) {
			b[key(2, 1, 8)], b[key(1, 1, 4)] = nil, b[key(1, 1, 4)][:200]
		}, []string{
			"rebuild 1/0000000000000001-0000000000000004.ltx from 9/0000000000000001-0000000000000004.ltx",
			"rebuild 2/0000000000000001-0000000000000008.ltx from 2 files, 9/0000000000000001-0000000000000004.ltx to 1/0000000000000005-0000000000000008.ltx",
		}, nil},
		{"a flipped file of level 0 that was merged with others", func(b bucket) { b[l0(6)] = flip(b[l0(6)]) }, nil, []ltx.TXID{6, 7}},
		{"the newest file", func(b bucket) { b[l0(16)] = flip(b[l0(16)]) }, nil, []ltx.TXID{16}},
		{"a missing file of level 0", func(b bucket) { delete(b, l0(14)) }, nil, []ltx.TXID{14, 15, 16}},
		{"a missing file of level 0 that was merged", func(b bucket) { delete(b, l0(6)) }, nil, []ltx.TXID{6, 7}},
		{"a missing file of level 0 before a snapshot", func(b bucket) {
			onlyL0(b)
			b[key(9, 1, 10)] = layered(t)[key(9, 1, 10)]
			delete(b, l0(8))
		}, nil, []ltx.TXID{8, 9}},
		{"a copy under another name", func(b bucket) { b[key(3, 2, 9)] = b[l0(7)] },
			[]string{"delete 3/0000000000000002-0000000000000009.ltx, which is a copy of 0/0000000000000007-0000000000000007.ltx"}, nil},
		{"a copy of a file among the snapshots", func(b bucket) { b[key(9, 7, 7)] = b[l0(7)] },
			[]string{"delete 9/0000000000000007-0000000000000007.ltx, which is a copy of 0/0000000000000007-0000000000000007.ltx"}, nil},
		{"a copy of the second transaction among the snapshots", func(b bucket) { b[key(9, 2, 2)] = b[l0(2)] },
			[]string{"delete 9/0000000000000002-0000000000000002.ltx, which is a copy of 0/0000000000000002-0000000000000002.ltx"}, nil},
		{"a renamed file", func(b bucket) {
			b[key(0, 20, 20)] = b[l0(14)]
			delete(b, l0(14))
		}, []string{
			"copy 0/0000000000000014-0000000000000014.ltx to 0/000000000000000e-000000000000000e.ltx, the name that its header has",
			"delete 0/0000000000000014-0000000000000014.ltx, which is a copy of 0/000000000000000e-000000000000000e.ltx",
		}, nil},
		{"a renamed file on level 1", func(b bucket) {
			b[key(1, 20, 20)] = b[l0(14)]
			delete(b, l0(14))
		}, []string{
			"copy 1/0000000000000014-0000000000000014.ltx to 0/000000000000000e-000000000000000e.ltx, the name that its header has",
			"delete 1/0000000000000014-0000000000000014.ltx, which is a copy of 0/000000000000000e-000000000000000e.ltx",
		}, nil},
		{"a flipped file and a copy of it under another name", func(b bucket) {
			b[key(0, 20, 20)] = b[l0(14)]
			b[l0(14)] = flip(b[l0(14)])
		}, []string{
			"copy 0/0000000000000014-0000000000000014.ltx to 8/000000000000000e-000000000000000e.ltx, the name that its header has",
			"rebuild 0/000000000000000e-000000000000000e.ltx from 8/000000000000000e-000000000000000e.ltx",
			"delete 0/0000000000000014-0000000000000014.ltx, which is a copy of 8/000000000000000e-000000000000000e.ltx",
		}, nil},
		{"a renamed file with the first transaction", func(b bucket) {
			onlyL0(b)
			b[key(0, 20, 20)] = b[l0(1)]
			delete(b, l0(1))
		}, []string{
			"copy 0/0000000000000014-0000000000000014.ltx to 0/0000000000000001-0000000000000001.ltx, the name that its header has",
			"delete 0/0000000000000014-0000000000000014.ltx, which is a copy of 0/0000000000000001-0000000000000001.ltx",
		}, nil},
		{"two files that were swapped", func(b bucket) { b[l0(14)], b[l0(15)] = b[l0(15)], b[l0(14)] }, []string{
			"copy 0/000000000000000f-000000000000000f.ltx to 8/000000000000000e-000000000000000e.ltx, the name that its header has",
			"copy 0/000000000000000e-000000000000000e.ltx to 8/000000000000000f-000000000000000f.ltx, the name that its header has",
			"rebuild 0/000000000000000e-000000000000000e.ltx from 8/000000000000000e-000000000000000e.ltx",
			"rebuild 0/000000000000000f-000000000000000f.ltx from 8/000000000000000f-000000000000000f.ltx",
		}, nil},
		{"a file of another database", func(b bucket) {
			other := readBucket(t, "../testdata/replicas/pagesize-1024")
			b[key(0, 17, 17)] = other[slices.MinFunc(slices.Collect(maps.Keys(other)), view.Key.Compare)]
		}, nil, nil},
		{"a damaged file that hides the newest state", func(b bucket) {
			// State 12 is that of the snapshot and level 1. Level 2 reaches further than
			// the snapshot and cannot be rebuilt.
			for txid := ltx.TXID(1); txid <= 16; txid++ {
				delete(b, l0(txid))
			}
			delete(b, key(1, 1, 4))
			delete(b, key(1, 5, 8))
			delete(b, key(2, 1, 8))
			b[key(3, 1, 11)] = flip(b[key(9, 1, 10)])
		}, []string{"make 9/0000000000000001-000000000000000c.ltx from 2 files, 9/0000000000000001-000000000000000a.ltx to 1/0000000000000009-000000000000000c.ltx"},
			[]ltx.TXID{1, 2, 3, 5, 6, 7, 8, 9, 11, 13, 14, 15, 16}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := layered(t)
			intact := b.states()
			tt.do(b)
			damaged := maps.Clone(b)
			client := writable{b}
			dry, err := maintain.Repair(t.Context(), client, maintain.RepairOptions{DryRun: true})
			if err != nil || !b.equal(damaged) || dry.After != nil {
				t.Fatalf("dry run: %+v, %v", dry, err)
			}
			r, err := maintain.Repair(t.Context(), client, maintain.RepairOptions{Requests: maintain.Requests{Concurrency: 1}})
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			for _, s := range r.Steps {
				steps = append(steps, s.String())
				if !s.Done {
					t.Errorf("%s is not done", s)
				}
			}
			if !slices.Equal(steps, tt.steps) {
				t.Errorf("steps %q, want %q", steps, tt.steps)
			}
			if len(dry.Steps) != len(r.Steps) {
				t.Errorf("a dry run has %d steps, want %d", len(dry.Steps), len(r.Steps))
			}
			usable := b.usable(t)
			for txid, sum := range intact {
				if isLost := slices.Contains(tt.lost, txid); (usable[txid] == sum) == isLost {
					t.Errorf("state %s: lost %v", txid, !isLost)
				}
			}
			if len(tt.steps) == 0 && !b.equal(damaged) {
				t.Error("the replica was changed")
			}
			if r.After != nil && len(tt.lost) == 0 && len(r.After.Findings) > 0 {
				t.Errorf("afterwards %v", r.After.Findings)
			}
			if again, err := maintain.Repair(t.Context(), client, maintain.RepairOptions{}); err != nil || len(again.Steps) > 0 {
				t.Errorf("a second time: %v, %v", again.Steps, err)
			}
		})
	}
}

// A repair of random damages loses no state that could be had, also when it fails at
// any request, and never brings a wrong one.
func TestRepair_Random(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	whole := layered(t)
	intact := whole.states()
	repaired, regained := 0, 0
	for range testscale.Repeats(600) {
		b := maps.Clone(whole)
		var names []string
		for range 1 + rng.IntN(3) {
			d := damaged(rng, b)
			b = d.b
			names = append(names, d.name)
		}
		if len(b) == 0 {
			continue
		}
		// right returns the states that have the right content.
		right := func(b bucket) map[ltx.TXID]bool {
			states := map[ltx.TXID]bool{}
			for txid, sum := range b.usable(t) {
				if intact[txid] == sum {
					states[txid] = true
				}
			}
			return states
		}
		before := right(b)
		check := func(b bucket) {
			t.Helper()
			after := right(b)
			for txid := range before {
				if !after[txid] {
					t.Errorf("%q: state %s is lost", names, txid)
				}
			}
			for txid, sum := range b.usable(t) {
				if want, ok := intact[txid]; ok && want != sum {
					t.Errorf("%q: state %s is another one", names, txid)
				}
			}
		}
		var at atomic.Int64 // an upload runs beside the reads of its content
		at.Store(rng.Int64N(60))
		interrupted := maps.Clone(b)
		faults := decorate.NewFault(writable{interrupted})
		faults.Add(decorate.Rule{Match: func(decorate.Call) bool { return at.Add(-1) < 0 }, Err: fs.ErrPermission})
		_, _ = maintain.Repair(t.Context(), faults, maintain.RepairOptions{Requests: maintain.Requests{Concurrency: 1}})
		check(interrupted)
		r, err := maintain.Repair(t.Context(), writable{b}, maintain.RepairOptions{Requests: maintain.Requests{Concurrency: 1}})
		if err != nil {
			t.Fatalf("%q: %v", names, err)
		}
		check(b)
		if len(r.Steps) > 0 {
			repaired++
			regained += len(right(b)) - len(before)
		}
	}
	t.Logf("%d repairs brought %d states back", repaired, regained)
	if regained == 0 {
		t.Error("nothing was repaired")
	}
}

// A store that loses what is uploaded keeps the damage that there was, and a replica
// in order is left alone.
func TestRepair_Storage(t *testing.T) {
	b := layered(t)
	k := key(1, 5, 8)
	b[k] = flip(b[k])
	before := maps.Clone(b)
	_, err := maintain.Repair(t.Context(), refusing{writable{b}}, maintain.RepairOptions{})
	if !errors.Is(err, fs.ErrPermission) || !b.equal(before) {
		t.Errorf("error %v", err)
	}
	// The steps are done, but what they have left cannot be verified.
	faults := decorate.NewFault(writable{b})
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpWrite), After: func(decorate.Call, error) {
		faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpList), Err: fs.ErrPermission})
	}})
	r, err := maintain.Repair(t.Context(), faults, maintain.RepairOptions{})
	if !errors.Is(err, fs.ErrPermission) || len(r.Steps) != 1 || !r.Steps[0].Done || r.After != nil {
		t.Errorf("verified afterwards: %+v, error %v", r, err)
	}
	whole := layered(t)
	if r, err := maintain.Repair(t.Context(), whole, maintain.RepairOptions{}); err != nil || len(r.Steps) > 0 || len(r.Before.Findings) > 0 || r.After != nil {
		t.Errorf("intact: %+v, %v", r, err)
	}
}

// changing is a store that calls a hook before each read of a file.
type changing struct {
	writable
	read func(view.Key)
}

func (c changing) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c.read(key(level, minTXID, maxTXID))
	return c.writable.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// A file that was a copy of another one stays if the other one has changed since then.
func TestRepair_CopyOfChangedFile(t *testing.T) {
	later := memory.NewReplicaClient()
	p := newPrimary(t, later, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	for txid := ltx.TXID(2); txid <= 7; txid++ {
		p.Exec("INSERT INTO t VALUES (?, zeroblob(100))", txid)
	}
	l0, stray := key(0, 7, 7), key(3, 2, 9)
	changed := read(t, later)[l0]

	reads := 0
	b := layered(t)
	b[stray] = b[l0]
	count := changing{writable{b}, func(k view.Key) {
		if k == stray {
			reads++
		}
	}}
	if dry, err := maintain.Repair(t.Context(), count, maintain.RepairOptions{DryRun: true}); err != nil || len(dry.Steps) != 1 {
		t.Fatalf("%+v, %v", dry, err)
	}
	planned := reads
	reads = 0
	client := changing{writable{b}, func(k view.Key) {
		if count.read(k); reads == planned+1 {
			b[l0] = changed
		}
	}}
	r, err := maintain.Repair(t.Context(), client, maintain.RepairOptions{Requests: maintain.Requests{Concurrency: 1}})
	if err == nil || !strings.Contains(err.Error(), "not the same any more") || b[stray] == nil {
		t.Errorf("%d reads, %+v, %v; the copy has %d bytes", reads, r.Steps, err, len(b[stray]))
	}
}

func TestStepKind(t *testing.T) {
	for kind, want := range map[maintain.StepKind]string{
		maintain.CopyFile: "copy", maintain.RebuildFile: "rebuild", maintain.DeleteFile: "delete", maintain.MakeSnapshot: "snapshot", -1: "StepKind(-1)", 4: "StepKind(4)",
	} {
		if got := kind.String(); got != want {
			t.Errorf("%d is %q, want %q", int(kind), got, want)
		}
	}
}

// refusing is a store that cannot be written to.
type refusing struct{ writable }

func (refusing) WriteLTXFile(context.Context, int, ltx.TXID, ltx.TXID, io.Reader) (*ltx.FileInfo, error) {
	return nil, fs.ErrPermission
}

var _ replica.Client = refusing{}
