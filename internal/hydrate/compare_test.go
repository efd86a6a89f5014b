package hydrate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// Pages that queries have fetched are compared with the checksums of their files. Only
// what the view does not have of the files is read for that.
func TestHydrator_ComparesOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.apply(2, 100, bedPageSize, 10, 50)
		h := b.new(Options{})
		b.offerAll(h)
		h.Start()
		synctest.Wait()
		b.want(h, Complete, 100, 100)
		if n := b.reads(); n != 2 {
			t.Errorf("%d requests, want one for each page that has changed", n)
		}
	})
}

// The pages of a file of which too much would have to be read are not compared, and
// that does not keep the hydration from being complete.
func TestHydrator_ComparesNotAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := emptyBed(t, newBed(t).client.ReplicaClient)
		first := make(map[uint32][]byte)
		for pgno := uint32(1); pgno <= 100; pgno++ {
			first[pgno] = bytes.Repeat([]byte{byte(pgno)}, bedPageSize)
		}
		for _, pgno := range []uint32{7, 8, 9} { // most of the file
			first[pgno] = bedPage(pgno, 1, bedPageSize)
		}
		b.applyPages(1, 100, bedPageSize, first)
		b.apply(2, 100, bedPageSize, 7, 8, 9)
		h := b.new(Options{})
		b.offerAll(h)
		h.Start()
		synctest.Wait()
		b.want(h, Complete, 100, 3)
		if p := h.Progress(); p.UnverifiablePages != 97 || b.reads() != 0 {
			t.Errorf("%d pages cannot be verified, %d requests", p.UnverifiablePages, b.reads())
		}
	})
}

// A page of the local file that is not as on the replica is found by the checksum. The
// hydration starts over once, without pages that may be wrong, and the second time it
// fails.
func TestHydrator_LocalWrong(t *testing.T) {
	for _, again := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "local.db")
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			b.client.read = func(ltx.TXID, int64, int64) error { time.Sleep(time.Second); return nil } // offers are quicker
			var h *Hydrator
			damage := func() { // behind the back of the rule which offers are of use
				h.Tier.offers.put(offer{key: b.key(20), page: bytes.Repeat([]byte{1}, bedPageSize)})
			}
			b.access.ForgetServed = func() {
				if b.forgotten.Add(1); again {
					damage()
				}
			}
			empty := 0
			h = b.new(Options{Path: path, OnDisk: func(event string) error {
				if event != "after: write record" {
					return nil
				}
				raw, err := readRecordFile(path + recordSuffix)
				if err != nil {
					t.Error(err)
				}
				if rec, _, err := parseRecord(raw.b); err != nil {
					t.Error(err)
				} else if rec.TXID == 0 {
					if empty++; h.Tier.Has(b.key(1)) {
						t.Error("a page is served while the file is emptied")
					}
				}
				return nil
			}})
			b.offerAll(h)
			for o, ok := h.Tier.offers.take(); ok; o, ok = h.Tier.offers.take() {
				if o.key.Pgno == 20 {
					damage()
					break
				}
				h.Tier.offers.put(o)
			}
			h.Start()
			time.Sleep(time.Minute)
			synctest.Wait()
			if !again {
				b.want(h, Complete, 100, 100)
			} else if p := h.Progress(); p.Status != Failed || !strings.Contains(p.Error, errLocalWrong.Error()) {
				t.Errorf("%+v\n%s", p, b.log)
			}
			if n := strings.Count(b.log.String(), `msg="hydration starts over"`); n != 1 || empty < 2 {
				t.Errorf("it has started over %d times, and has written %d empty records\n%s", n, empty, b.log)
			}
			if want := map[bool]int32{false: 1, true: 2}[again]; b.forgotten.Load() != want {
				t.Errorf("%d times what was served was forgotten, want %d", b.forgotten.Load(), want)
			}
		})
	}
}

// A file of the replica that is damaged and still listed ends the hydration. Without a
// listing, hydration waits and says why.
func TestHydrator_RemoteWrong(t *testing.T) {
	for _, listed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			b.damage(1, 5000)
			distrusted := 0
			b.access.Distrust = func(f *view.File, _ error) {
				if distrusted++; f != b.view().Last {
					t.Errorf("it was not %s that is damaged", f)
				}
			}
			if !listed {
				b.access.RefreshAnew = func(context.Context) ([]*ltx.FileInfo, error) { return nil, errors.New("no listing today") }
			}
			h := b.start(Options{})
			synctest.Wait()
			p := h.Progress()
			if (distrusted == 1) != listed {
				t.Errorf("the file was distrusted %d times, listed %v", distrusted, listed)
			}
			if listed && (p.Status != Failed || !strings.Contains(p.Error, "hydrate from")) {
				t.Errorf("%+v", p)
			}
			if !listed && (p.Status != Restoring || !strings.Contains(p.Error, "no listing today")) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// compareFile reads what is missing of a file up to a share of it, which is three
// percent.
func TestCompareFile_Share(t *testing.T) {
	for _, tt := range []struct {
		missing uint64 // bytes of 10000
		want    bool
	}{{299, true}, {300, true}, {301, false}, {400, false}} {
		b := newBed(t)
		sizes := map[uint32]uint64{1: 10000 - tt.missing, 2: tt.missing}
		f, index := viewtest.FileOfSizes(t, 1, 1, 65536, 2, viewtest.AllPages(65536, 2), func(pgno uint32) uint64 { return sizes[pgno] })
		other, otherIndex := viewtest.File(t, 2, 2, 65536, 2, func(yield func(uint32) bool) { yield(2) })
		v := viewtest.Advance(t, viewtest.Advance(t, new(view.View), f, index), other, otherIndex)
		b.access.Views.Current.Store(v)
		temp, err := pagefile.CreateTemp()
		if err != nil {
			t.Fatal(err)
		}
		defer temp.Close()
		l := newLocalPages(temp, 65536, nil)
		hold(t, l, v)
		if _, err := l.write(0, 1, []ltx.TXID{1}, make([]byte, 65536)); err != nil {
			t.Fatal(err)
		}
		// The file is not on the replica, which is what a read finds.
		compared, err := b.new(Options{}).copier.comparer.compareFile(t.Context(), l, v, &fileTally{file: f, open: 1, all: 1})
		if read := errors.Is(err, fs.ErrNotExist) || errors.Is(err, errs.ErrCorrupt); compared || read != tt.want || !read && err != nil {
			t.Errorf("%d bytes are missing: compared %v, %v", tt.missing, compared, err)
		}
	}
}

// A page that is not in the local file any more is none that differs from its file.
func TestReread_Absent(t *testing.T) {
	b := newBed(t)
	h := b.new(Options{})
	l := b.heldBy(h)
	if err := h.copier.comparer.reread(t.Context(), l, b.view(), b.view().Last); err != nil {
		t.Error(err)
	}
	if _, err := l.write(0, 7, []ltx.TXID{1}, make([]byte, bedPageSize)); err != nil {
		t.Fatal(err)
	}
	if err := h.copier.comparer.reread(t.Context(), l, b.view(), b.view().Last); !errors.Is(err, errLocalWrong) || !strings.Contains(err.Error(), "page 7 ") {
		t.Errorf("a page that differs: %v", err)
	}
}

// eachFrame reads whole frames across the ends of its parts, and says what is wrong
// with a file.
func TestEachFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const commit = 3000 // more than a part
		b := emptyBed(t, memory.NewReplicaClient())
		b.apply(1, commit, bedPageSize)
		r := b.new(Options{}).copier.reader
		f := b.view().Last
		walk := func() (n int, err error) {
			err = r.eachFrame(t.Context(), f, 0, ltx.HeaderSize, f.FramesEnd, func(_ []byte, pgno uint32, page []byte) {
				if n++; pgno != uint32(n) || !bytes.Equal(page, b.content[pgno]) {
					t.Errorf("page %d is at %d", pgno, n)
				}
			})
			return n, err
		}
		if n, err := walk(); n != commit || b.reads() != 2 || err != nil {
			t.Errorf("%d frames, %v", n, err)
		}
		loc, _ := b.view().Lookup(10)
		b.damage(1, loc.Offset+ltx.PageHeaderSize) // its size
		var bad *fileError
		if n, err := walk(); n != 9 || !errors.As(err, &bad) || bad.file != f || !errors.Is(err, errs.ErrCorrupt) {
			t.Errorf("%d frames of a damaged file, %v", n, err)
		}
		if err := b.client.DeleteLTXFiles(t.Context(), b.listed()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is known
			if n, err := walk(); n != 0 || !errs.IsMissing(err) {
				t.Errorf("%d frames of a file that was deleted, %v", n, err)
			}
		}
	})
}

// A request that storage answers after the time limit, but with all bytes, has
// succeeded.
func TestRead_Late(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.client.read = func(ltx.TXID, int64, int64) error {
			if b.reads() == 1 {
				time.Sleep(time.Minute)
			}
			return nil
		}
		b.access.Store.Client = &lateClient{b.client}
		r := b.new(Options{ReadTimeout: time.Second}).copier.reader
		buf := make([]byte, 10)
		if err := r.read(t.Context(), b.view().Last, 0, buf, 0, nil); err != nil || b.reads() != 1 || string(buf[:4]) != "LTX1" {
			t.Errorf("%q after %d requests, %v", buf, b.reads(), err)
		}
	})
}

// lateClient does not look at contexts.
type lateClient struct{ *bedClient }

func (c *lateClient) OpenLTXFile(_ context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return c.bedClient.OpenLTXFile(context.Background(), level, minTXID, maxTXID, offset, size)
}

// A read whose context ends returns an error, whatever it waits for: its caller takes
// the bytes otherwise.
func TestRead_Ends(t *testing.T) {
	for name, wait := range map[string]func(b *bed, r *partReader){
		"storage": func(b *bed, _ *partReader) {
			b.client.read = func(ltx.TXID, int64, int64) error { return errors.New("down") }
		},
		"the rate limit": func(_ *bed, r *partReader) { r.rate.AllowN(time.Now(), r.rate.Burst()) },
		"other reads":    func(b *bed, r *partReader) { _ = r.streams.Acquire(b.t.Context(), 2*maxBatch+maxBatch/2) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			opts := Options{RateLimit: 1000}
			r := b.new(opts).copier.reader
			wait(b, r)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Second, cancel)
			if err := r.read(ctx, b.view().Last, 0, make([]byte, 50_000), 0, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// A copy keeps to the rate limit.
func TestHydrator_RateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := emptyBed(t, memory.NewReplicaClient())
		b.apply(1, 3000, bedPageSize)
		h := b.start(Options{RateLimit: 100_000})
		size := float64(b.view().Last.FramesEnd)
		least := time.Duration((size - 2*65536) / 100_000 * float64(time.Second))
		time.Sleep(least)
		synctest.Wait()
		if p := h.Progress(); p.Status != Restoring || p.Pages == 3000 {
			t.Errorf("after %s, %+v", least, p)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		b.want(h, Complete, 3000, 3000)
	})
}
