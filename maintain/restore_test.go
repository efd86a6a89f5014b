package maintain_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
)

// Every state of replicas that Litestream made is restored as Litestream restores
// it, byte for byte.
func TestRestore_AsLitestream(t *testing.T) {
	for _, dir := range replicas(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b, m := readBucket(t, dir), readManifest(t, dir)
			for i, p := range m.Points {
				if i > 10 && testing.Short() || i > 3 && testscale.Race {
					break
				}
				path := filepath.Join(t.TempDir(), "app.db")
				at := maintain.Moment{TXID: p.TXID}
				if p.TXID == m.TXID {
					at = maintain.Moment{}
				}
				r, err := maintain.Restore(t.Context(), b, path, maintain.RestoreOptions{At: at, Sparse: i%2 == 0})
				if err != nil {
					t.Fatal(err)
				}
				got := readFile(t, path)
				if sum(got) != p.FileSHA256 || r.TXID != p.TXID || r.Bytes != int64(len(got)) {
					t.Errorf("transaction %s: restored %d bytes of %s with sum %s, want %s", p.TXID, len(got), r.TXID, sum(got), p.FileSHA256)
				}
				isAlone(t, path)
			}
		})
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// isAlone fails the test if other files are in the folder of a file.
func isAlone(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			t.Errorf("%s is left over", e.Name())
		}
	}
}

// large returns a replica whose snapshot has several parts, with later files that
// change, cut off and add pages, and its newest state.
func large(t testing.TB) (b bucket, want []byte) {
	t.Helper()
	made.Do(func() { made.b, made.want = makeLarge(t) })
	return maps.Clone(made.b), made.want
}

// everyNth is the distance between calls that fail, each in a run of its own. Pages
// are decoded slowly under the race detector.
var everyNth = map[bool]int{false: 1, true: 4}[testscale.Race]

// made is what large returns.
var made struct {
	sync.Once
	b    bucket
	want []byte
}

func makeLarge(t testing.TB) (b bucket, want []byte) {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{1})
	const pageSize = 4096
	b, image := bucket{}, make([]byte, 4000*pageSize)
	random := func(pgno uint32) []byte {
		page := image[int(pgno-1)*pageSize:][:pageSize]
		_, _ = rng.Read(page)
		if pgno == 1 {
			copy(page, "SQLite format 3\x00\x10\x00\x02\x02")
		}
		return page
	}
	write := func(level int, minTXID, maxTXID ltx.TXID, commit uint32, pgnos ...uint32) {
		old := len(image)
		image = append(image, make([]byte, max(0, int(commit)*pageSize-old))...)[:int(commit)*pageSize]
		var buf bytes.Buffer
		enc, err := ltx.NewEncoder(&buf)
		if err == nil {
			err = enc.EncodeHeader(ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: pageSize, Commit: commit,
				MinTXID: minTXID, MaxTXID: maxTXID, Timestamp: 1_700_000_000_000 + int64(maxTXID)*1000})
		}
		for _, pgno := range pgnos {
			if err == nil {
				err = enc.EncodePage(ltx.PageHeader{Pgno: pgno}, random(pgno))
			}
		}
		if err == nil {
			err = enc.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		b[view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}] = buf.Bytes()
	}
	upTo := func(first, last, step uint32) (pgnos []uint32) {
		for pgno := first; pgno <= last; pgno += step {
			pgnos = append(pgnos, pgno)
		}
		return pgnos
	}
	write(9, 1, 5, 4000, upTo(1, 4000, 1)...)
	write(1, 6, 8, 4100, append(upTo(1, 4000, 7), upTo(4001, 4100, 1)...)...)
	write(0, 9, 9, 3000, upTo(1, 3000, 101)...)
	write(0, 10, 10, 3050, upTo(3001, 3050, 1)...)
	return b, image
}

// A restore that ends at any request, or between any two of them, leaves nothing at
// the path. The next one continues with what is there, and reads it once.
func TestRestore_Resumes(t *testing.T) {
	b, want := large(t)
	failed := errors.New("failed")
	for k := 1; ; k += everyNth {
		path := filepath.Join(t.TempDir(), "app.db")
		faults := decorate.NewFault(b)
		ctx, cancel := context.WithCancelCause(t.Context())
		faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Skip: k - 1, Before: func(decorate.Call) { cancel(failed) }})
		opts := maintain.RestoreOptions{Requests: maintain.Requests{Concurrency: 1}}
		_, err := maintain.Restore(ctx, faults, path, opts)
		cancel(nil)
		if err == nil {
			if k < 8 {
				t.Fatalf("%d reads were enough", k-1)
			}
			return
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("read %d: the file exists: %v", k, err)
		}
		var last maintain.Progress
		opts.Progress = func(p maintain.Progress) { last = p }
		r, err := maintain.Restore(t.Context(), b, path, opts)
		if err != nil {
			t.Fatalf("read %d: %v", k, err)
		}
		if !bytes.Equal(readFile(t, path), want) {
			t.Fatalf("read %d: the restored database is another one", k)
		}
		if last.Bytes != last.AllBytes || last.Files != last.AllFiles || last.Files != 4 {
			t.Errorf("read %d: progress ends with %+v", k, last)
		}
		if k > 10 && r.Resumed == 0 {
			t.Errorf("read %d: nothing was resumed", k)
		}
		isAlone(t, path)
	}
}

// A restore of one state continues that of another one, with the pages that both
// have from the same file.
func TestRestore_ResumesOther(t *testing.T) {
	b, _ := large(t)
	moments := []ltx.TXID{5, 8, 9, 10}
	if testscale.Race {
		moments = []ltx.TXID{9}
	}
	stop := errors.New("stop")
	for _, first := range moments {
		for _, then := range moments {
			path := filepath.Join(t.TempDir(), "app.db")
			ctx, cancel := context.WithCancelCause(t.Context())
			opts := maintain.RestoreOptions{At: maintain.Moment{TXID: first}, Requests: maintain.Requests{Concurrency: 1}}
			opts.Progress = func(p maintain.Progress) {
				if p.Bytes > p.AllBytes*6/10 {
					cancel(stop)
				}
			}
			_, err := maintain.Restore(ctx, b, path, opts)
			cancel(nil)
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if err == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			want, err := b.image(then)
			if err != nil {
				t.Fatal(err)
			}
			r, err := maintain.Restore(t.Context(), b, path, maintain.RestoreOptions{At: maintain.Moment{TXID: then}})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(t, path), want) {
				t.Errorf("%s after %s: the restored database is another one", then, first)
			}
			if then > 8 && first > 5 && r.Resumed == 0 { // transaction 9 changes pages of every part
				t.Errorf("%s after %s: nothing was resumed", then, first)
			}
			isAlone(t, path)
		}
	}
}

// A restore continues over files that are not there any more, with the pages of those
// that are. They may have been compacted, or the replica may have been rolled back and
// written on: then pages that they changed must not stay.
func TestRestore_OtherFiles(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, b bucket)
	}{
		{"compacted", func(t *testing.T, b bucket) {
			b.compact(t, 2, upTo8, only9, only10)
		}},
		{"rolled back", func(t *testing.T, b bucket) {
			// The new transactions change other pages than the old ones.
			other, _ := large(t)
			for _, key := range []view.Key{{Level: 1, MinTXID: 6, MaxTXID: 8}, {Level: 0, MinTXID: 9, MaxTXID: 9}, {Level: 0, MinTXID: 10, MaxTXID: 10}} {
				delete(b, key)
			}
			small := other[view.Key{Level: 0, MinTXID: 9, MaxTXID: 9}]
			b[view.Key{Level: 1, MinTXID: 6, MaxTXID: 12}] = renamed(t, small, 6, 12)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, _ := large(t)
			path := filepath.Join(t.TempDir(), "app.db")
			ctx, cancel := context.WithCancel(t.Context())
			opts := maintain.RestoreOptions{At: maintain.Moment{TXID: 9}, Requests: maintain.Requests{Concurrency: 1}}
			opts.Progress = func(p maintain.Progress) {
				if p.Bytes > p.AllBytes/2 {
					cancel()
				}
			}
			if _, err := maintain.Restore(ctx, b, path, opts); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			tc.change(t, b)
			reachable := b.reachable()
			want, err := b.image(reachable[len(reachable)-1])
			if err != nil {
				t.Fatal(err)
			}
			r, err := maintain.Restore(t.Context(), b, path, maintain.RestoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(t, path), want) {
				t.Errorf("restored another database, with %d bytes resumed", r.Resumed)
			}
			if tc.name == "compacted" && r.Resumed == 0 {
				t.Error("nothing was resumed")
			}
			isAlone(t, path)
		})
	}
}

// A restore that continues leaves nothing of transactions that were rolled back, even
// if the replica becomes like it was at an earlier attempt.
func TestRestore_RolledBackTwice(t *testing.T) {
	all, _ := large(t)
	only6 := view.Key{MinTXID: 6, MaxTXID: 6}
	as6 := func(from view.Key, commit uint32, later int64) []byte {
		return reencode(t, all[from], func(h *ltx.Header) {
			h.MinTXID, h.MaxTXID, h.Commit, h.Timestamp = 6, 6, commit, h.Timestamp+later
		})
	}
	for name, histories := range map[string][]bucket{
		"pages of the second history": {
			{snapshot: all[snapshot], only6: as6(only9, 4000, 0)},
			{snapshot: all[snapshot], only6: as6(upTo8, 4100, 0)}, // has other pages
			{snapshot: all[snapshot], only6: as6(only9, 4000, 1)},
		},
		"pages that were kept at first": {
			{snapshot: all[snapshot]},
			{snapshot: all[snapshot], only6: as6(only9, 4000, 0)},
			{snapshot: all[snapshot]},
		},
		"pages that no file has": {
			all,
			{snapshot: all[snapshot], upTo8: all[upTo8], only9: all[only9], only10: reencode(t, all[only9], func(h *ltx.Header) {
				h.MinTXID, h.MaxTXID, h.Commit = 10, 10, 3050
			})},
		},
	} {
		path := filepath.Join(t.TempDir(), "app.db")
		for i, b := range histories[:len(histories)-1] {
			ctx, cancel := context.WithCancel(t.Context())
			opts := maintain.RestoreOptions{Requests: maintain.Requests{Concurrency: 1}}
			opts.Progress = func(p maintain.Progress) {
				if p.Bytes > p.AllBytes*int64(60-40*i)/100 {
					cancel()
				}
			}
			if _, err := maintain.Restore(ctx, b, path, opts); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		last := histories[len(histories)-1]
		r, err := maintain.Restore(t.Context(), last, path, maintain.RestoreOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(histories) == 2 && r.Resumed == 0 {
			t.Errorf("%s: nothing was resumed", name)
		}
		anew := filepath.Join(t.TempDir(), "app.db")
		if _, err := maintain.Restore(t.Context(), last, anew, maintain.RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readFile(t, path), readFile(t, anew)) {
			t.Errorf("%s: restored another database than a restore that was not interrupted", name)
		}
	}
}

// renamed returns an LTX file with the same pages and other transactions.
func renamed(t *testing.T, b []byte, minTXID, maxTXID ltx.TXID) []byte {
	t.Helper()
	dec := ltx.NewDecoder(bytes.NewReader(b))
	if err := dec.DecodeHeader(); err != nil {
		t.Fatal(err)
	}
	hdr := dec.Header()
	hdr.MinTXID, hdr.MaxTXID = minTXID, maxTXID
	var out bytes.Buffer
	enc, err := ltx.NewEncoder(&out)
	if err == nil {
		err = enc.EncodeHeader(hdr)
	}
	page := make([]byte, hdr.PageSize)
	for err == nil {
		var ph ltx.PageHeader
		if err = dec.DecodePage(&ph, page); err == nil {
			err = enc.EncodePage(ph, page)
		}
	}
	if err == io.EOF {
		err = enc.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A restore to a writer leaves no temporary file.
func TestRestoreTo_Temporary(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	b := layered(t)
	for _, at := range []ltx.TXID{0, 10, 11, 99} {
		_, err := maintain.RestoreTo(t.Context(), b, new(bytes.Buffer), quietly(at))
		if entries, rerr := os.ReadDir(dir); rerr != nil || len(entries) > 0 {
			t.Errorf("%s, error %v: left are %v, %v", at, err, entries, rerr)
		}
	}
}

// A journal that comes meanwhile is not applied to the restored database: there is none.
func TestRestore_JournalComes(t *testing.T) {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		path := filepath.Join(t.TempDir(), "app.db")
		faults := decorate.NewFault(layered(t))
		faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) {
			if err := os.WriteFile(path+suffix, []byte("precious"), 0o600); err != nil {
				t.Error(err)
			}
		}})
		if _, err := maintain.Restore(t.Context(), faults, path, maintain.RestoreOptions{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%q: error %v, want fs.ErrExist", suffix, err)
		}
		if _, err := os.Lstat(path); suffix != "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: the database is there", suffix)
		}
		if got := readFile(t, path+suffix); string(got) != "precious" {
			t.Errorf("%q was changed", suffix)
		}
	}
}

// A writer that fails ends the restore with its error.
func TestRestoreTo_Fails(t *testing.T) {
	r, w := io.Pipe()
	if err := r.CloseWithError(fs.ErrPermission); err != nil {
		t.Fatal(err)
	}
	if result, err := maintain.RestoreTo(t.Context(), layered(t), w, maintain.RestoreOptions{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%+v, error %v", result, err)
	}
}

// A file that was replaced meanwhile is not mixed with the one that an earlier
// restore has read.
func TestRestore_Replaced(t *testing.T) {
	b, _ := large(t)
	path := filepath.Join(t.TempDir(), "app.db")
	ctx, cancel := context.WithCancel(t.Context())
	opts := maintain.RestoreOptions{At: maintain.Moment{TXID: 5}, Requests: maintain.Requests{Concurrency: 1}}
	opts.Progress = func(p maintain.Progress) {
		if p.Bytes > p.AllBytes/2 {
			cancel()
		}
	}
	if _, err := maintain.Restore(ctx, b, path, opts); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	key := view.Key{Level: 9, MinTXID: 1, MaxTXID: 5}
	other, _ := large(t)
	image, err := other.image(5)
	if err != nil {
		t.Fatal(err)
	}
	image[len(image)-1] ^= 1
	var buf bytes.Buffer
	enc, _ := ltx.NewEncoder(&buf)
	if err := enc.EncodeHeader(ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 4096, Commit: 4000, MinTXID: 1, MaxTXID: 5, Timestamp: 1}); err != nil {
		t.Fatal(err)
	}
	for pgno := range uint32(4000) {
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno + 1}, image[pgno*4096:][:4096]); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	if len(b[key]) != buf.Len() {
		t.Fatalf("the file has %d bytes, the other one %d", buf.Len(), len(b[key]))
	}
	b[key] = buf.Bytes()
	r, err := maintain.Restore(t.Context(), b, path, maintain.RestoreOptions{At: maintain.Moment{TXID: 5}})
	if err != nil || !bytes.Equal(readFile(t, path), image) || r.Resumed > 0 {
		t.Errorf("the restored database is another one, %+v, error %v", r, err)
	}
}

// Restore overwrites nothing.
func TestRestore_Refuses(t *testing.T) {
	b, _ := large(t)
	for _, name := range []string{"app.db", "app.db-wal", "app.db-journal", "app.db-shm", "app.db.partial", "app.db.partial-record"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := maintain.Restore(t.Context(), b, filepath.Join(dir, "app.db"), maintain.RestoreOptions{})
		if err == nil || name != "app.db.partial-record" && !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: error %v, want fs.ErrExist", name, err)
		}
		if got := readFile(t, filepath.Join(dir, name)); string(got) != "precious" {
			t.Errorf("%s was changed", name)
		}
		isAlone(t, filepath.Join(dir, name))
	}
}

// Restore finds the state of a time as time travel does.
func TestRestore_AtTime(t *testing.T) {
	b, _ := large(t)
	for _, tt := range []struct {
		ms   int64
		want ltx.TXID
	}{{8000, 8}, {8999, 8}, {9000, 9}, {20000, 10}} {
		r, err := maintain.RestoreTo(t.Context(), b, new(bytes.Buffer), maintain.RestoreOptions{At: maintain.Moment{Time: time.UnixMilli(1_700_000_000_000 + tt.ms)}})
		if err != nil || r.TXID != tt.want {
			t.Errorf("time %d: restored %+v, error %v, want transaction %s", tt.ms, r, err, tt.want)
		}
	}
	for _, at := range []maintain.Moment{{TXID: 7}, {TXID: 11}, {Time: time.Unix(1, 0)}} {
		if _, err := maintain.RestoreTo(t.Context(), b, new(bytes.Buffer), maintain.RestoreOptions{At: at}); !errors.Is(err, errs.ErrTxNotAvailable) {
			t.Errorf("%s: error %v, want that it is not available", at, err)
		}
	}
}

// Pages of zeros among others are not written by a sparse restore, and are zeros.
func TestRestore_Sparse(t *testing.T) {
	src := source{4096, 100, func(pgno uint32, page []byte) error {
		clear(page)
		if pgno%7 < 3 {
			page[pgno] = 1
		}
		return nil
	}}
	b := bucket{}
	if _, err := maintain.Import(t.Context(), writable{b}, src, maintain.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	want, err := b.image(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, sparse := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "app.db")
		if _, err := maintain.Restore(t.Context(), b, path, maintain.RestoreOptions{Sparse: sparse}); err != nil || !bytes.Equal(readFile(t, path), want) {
			t.Errorf("sparse %t: the restored database is another one, error %v", sparse, err)
		}
	}
}

// A failure of any request ends in an error or in the right database.
func TestRestore_Faults(t *testing.T) {
	b, want := large(t)
	for k := 1; ; k += everyNth {
		faults := decorate.NewFault(b)
		faults.FailCall(k, fs.ErrPermission)
		path := filepath.Join(t.TempDir(), "app.db")
		_, err := maintain.Restore(t.Context(), faults, path, maintain.RestoreOptions{})
		if faults.Faults() == 0 {
			return
		}
		if !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("call %d: error %v, want fs.ErrPermission", k, err)
		}
		if _, err := maintain.Restore(t.Context(), b, path, maintain.RestoreOptions{}); err != nil || !bytes.Equal(readFile(t, path), want) {
			t.Fatalf("call %d: after a failure: %v", k, err)
		}
	}
}

func asReaders(readers []*bytes.Reader) (all []io.Reader) {
	for _, r := range readers {
		all = append(all, r)
	}
	return all
}
