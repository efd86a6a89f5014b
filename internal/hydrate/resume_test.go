package hydrate

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// The pages of a file are trusted as far as its record is of the file, and of the
// history of the replica.
func TestKeeper_Trusted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(b *bed, r *record)
		want   string // in the error
	}{
		{"nothing", func(*bed, *record) {}, ""},
		{"no pages", func(_ *bed, r *record) { r.TXID = 0 }, "lists no pages"},
		{"the page size", func(_ *bed, r *record) { r.PageSize *= 2 }, "page size"},
		{"more pages than the file has", func(_ *bed, r *record) { r.Commit, r.runs = 1000, makeRuns(1000, 1) }, "should have"},
		{"a later transaction", func(_ *bed, r *record) { r.TXID = 9 }, "the replica ends at"},
		{"a sample", func(_ *bed, r *record) { r.Samples[3].CRC64++ }, "not what was written"},
		{"a sample of no page", func(_ *bed, r *record) { r.Samples[3].Pgno = 0 }, errBadRecord.Error()},
		{"a sample beyond the end", func(_ *bed, r *record) { r.Samples[3].Pgno = 101 }, errBadRecord.Error()},
		{"the file", func(_ *bed, r *record) { r.FileID = strings.Repeat("0", 32) }, "another file"},
		{"the file, copied in use", func(_ *bed, r *record) { r.FileNumber++ }, "a copy of a file that was in use"},
		{"the file of the record", func(_ *bed, r *record) { r.RecordNumber++ }, "a copy of a file that was in use"},
		{"the version before", func(_ *bed, r *record) { r.RecordNumber = 0 }, "may be a copy of a file that was in use"},
		{"the version before, closed", func(_ *bed, r *record) { r.RecordNumber, r.Closed = 0, true }, ""},
		{"an early version", func(_ *bed, r *record) { r.RecordNumber, r.FileNumber = 0, 0 }, ""},
		{"a copy of closed files", func(_ *bed, r *record) { r.RecordNumber++; r.FileNumber++; r.Closed = true }, ""},
		{"the history", func(_ *bed, r *record) { r.Files[0].Checksum++ }, "no file of the replica"},
		{"the list of pages", func(_ *bed, r *record) { r.runs = makeRuns(101, 1) }, errBadRecord.Error()},
		{"the epoch", func(b *bed, _ *record) {
			b.access.EpochOf = func(context.Context, *view.View, []*ltx.FileInfo) (uint32, error) { return 1, nil }
		}, "replaced meanwhile"},
		{"no answer", func(b *bed, _ *record) {
			b.access.EpochOf = func(context.Context, *view.View, []*ltx.FileInfo) (uint32, error) { return 0, errors.New("down") }
		}, errUnknown.Error()},
	} {
		b := newBed(t)
		path := filepath.Join(t.TempDir(), "local.db")
		var all []uint32
		for pgno := range uint32(100) {
			all = append(all, pgno+1)
		}
		k, l := b.kept(path, nil, all...)
		raw, err := readRecordFile(path + recordSuffix)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := parseRecord(raw.b)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.Samples); n != maxSamples || r.Samples[n-1].Pgno < 90 {
			t.Fatalf("the samples are not of all of the file: %+v", r.Samples)
		}
		tt.change(b, r)
		k.old.number = raw.number
		if k.old.b, _, err = r.encode(); err != nil {
			t.Fatal(err)
		}
		k.marked = true
		pages, _, err := k.trusted(l, b.view(), b.access)
		if tt.want == "" && (err != nil || pages.n != 100) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || pages.n != 0) {
			t.Errorf("%s is another one: %d pages, %v, want %q", tt.name, pages.n, err, tt.want)
		}
	}
}

// The newest file that both have tells up to where a history is the same. A file that is
// gone, or has another checksum, does not, and the one before may. If storage does not
// say, nothing is known.
func TestWitness(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(b *bed)
		want   ltx.TXID
		err    error
	}{
		{"all files", func(*bed) {}, 2, nil},
		{"the newest was deleted", func(b *bed) {
			if err := b.client.DeleteLTXFiles(b.t.Context(), b.listed()[1:]); err != nil {
				b.t.Fatal(err)
			}
		}, 1, nil},
		{"the newest was deleted just now", func(b *bed) { b.failReads(2, fs.ErrNotExist) }, 1, nil},
		{"the newest has another checksum", func(b *bed) { b.damage(2, b.listed()[1].Size-1) }, 1, nil},
		{"storage refuses to read the newest", func(b *bed) { b.failReads(2, fs.ErrPermission) }, 0, errUnknown},
	} {
		b := newBed(t)
		b.apply(2, 100, bedPageSize, 10)
		had := recordFiles(b.view())
		tt.change(b)
		upTo, _, err := b.access.witness(had, b.view(), -1)
		if upTo != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: up to transaction %d, %v", tt.name, upTo, err)
		}
	}
}

// failReads makes the reads of a file fail.
func (b *bed) failReads(txid ltx.TXID, problem error) {
	b.client.read = func(minTXID ltx.TXID, _, _ int64) error {
		if minTXID == txid {
			return problem
		}
		return nil
	}
}

// A file is left as it is while storage does not say whether it can be used. It is used
// once storage does.
func TestHydrator_UnknownHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start(Options{Path: path})
		synctest.Wait()
		b.close()
		n := b.another()
		down := true
		n.access.EpochOf = func(context.Context, *view.View, []*ltx.FileInfo) (uint32, error) {
			if down {
				down = false
				return 0, errors.New("down")
			}
			return 0, nil
		}
		h := n.start(Options{Path: path})
		synctest.Wait()
		if p := h.Progress(); p.Status == Failed || !strings.Contains(p.Error, "down") {
			t.Errorf("%+v", p)
		}
		if pgnos, _ := listed(t, path); len(pgnos) != 100 {
			t.Errorf("the record lists %d pages", len(pgnos))
		}
		time.Sleep(lastHydrationDelay)
		synctest.Wait()
		if n.want(h, Complete, 100, 100); n.reads() != 0 {
			t.Errorf("%d requests", n.reads())
		}
	})
}

// A record gives a state if it lists all of its pages, and none of them has changed
// since.
func TestCompleteRecord(t *testing.T) {
	if rec, err := completeRecord(goldenRecord(), nil, nil); err != nil || rec == nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct {
		change    func(r *record)
		forgotten map[uint32]bool
		err       error
	}{
		"no pages":           {change: func(r *record) { r.TXID = 0 }},
		"not all pages":      {change: func(r *record) { r.Complete = false }},
		"a page has changed": {forgotten: map[uint32]bool{7: true}},
		"it is damaged":      {err: errBadRecord},
	} {
		r := goldenRecord()
		if tt.change != nil {
			tt.change(r)
		}
		if _, err := completeRecord(r, tt.forgotten, tt.err); err == nil || tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever changes, the record is replaced every ten seconds at most, and lists all
// pages then. While nothing changes, it stays as it is.
func TestKeeper_Checkpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		var syncs atomic.Int32
		h := b.start(Options{Path: path, OnDisk: func(event string) error {
			if event == "after: sync" {
				syncs.Add(1)
			}
			return nil
		}})
		synctest.Wait()
		first := syncs.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		if syncs.Load() != first {
			t.Errorf("the record was replaced %d times for nothing", syncs.Load()-first)
		}
		h.Tier.Notify()
		synctest.Wait()
		for txid := ltx.TXID(2); txid < 10; txid++ {
			b.apply(txid, 100, bedPageSize, uint32(txid))
			h.Tier.Notify()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := syncs.Load() - first; n != 1 { // the first change is long after the last record
			t.Errorf("in eight seconds, the record was replaced %d times", n)
		}
		if pgnos, _ := listed(t, path); len(pgnos) >= 100 {
			t.Errorf("the record lists %d pages", len(pgnos))
		}
		time.Sleep(checkpointEvery)
		synctest.Wait()
		if pgnos, compared := listed(t, path); len(pgnos) != 100 || len(compared) != 100 || syncs.Load() != first+2 {
			t.Errorf("the record lists %d pages, %d of them compared, and was replaced %d times", len(pgnos), len(compared), syncs.Load()-first)
		}
	})
}
