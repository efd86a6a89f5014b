package hydrate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// listed returns the pages that a record at the path of a hydration file lists, and
// those of them that a compared checksum covers.
func listed(t *testing.T, path string) (pgnos, compared []uint32) {
	t.Helper()
	raw, err := readRecordFile(path + recordSuffix)
	if err != nil {
		t.Fatal(err)
	}
	rec, forgotten, err := parseRecord(raw.b)
	if err != nil {
		t.Fatal(err)
	}
	eachRun(rec.runs, rec.Commit, func(first, n uint32, version ltx.TXID) {
		for pgno := first; version != 0 && pgno < first+n; pgno++ {
			if !forgotten[pgno] {
				pgnos = append(pgnos, pgno)
			}
		}
	})
	eachRun(rec.Compared, rec.Commit, func(first, n uint32, covers ltx.TXID) {
		for pgno := first; covers != 0 && pgno < first+n; pgno++ {
			compared = append(compared, pgno)
		}
	})
	return pgnos, compared
}

// kept returns the pages of a bed in a new file at a path, with its keeper. The file
// has some pages of the current view.
func (b *bed) kept(path string, onDisk func(event string) error, pgnos ...uint32) (*keeper, *localPages) {
	b.t.Helper()
	file, k, err := openKept(path, "", b.access.Log, time.Now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = k.close() })
	l := newLocalPages(file, b.view().PageSize, onDisk)
	if err := errors.Join(k.discard(l), k.begin(l, b.view(), trustedPages{})); err != nil {
		b.t.Fatal(err)
	}
	for _, pgno := range pgnos {
		if _, err := l.write(b.view().Epoch, pgno, []ltx.TXID{b.key(pgno).Version}, b.content[pgno]); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := k.checkpoint(l); err != nil {
		b.t.Fatal(err)
	}
	return k, l
}

// A record lists the pages that are there, whatever lies between them, in their
// versions.
func TestKeeper_Record(t *testing.T) {
	b := newBed(t)
	b.apply(2, 100, bedPageSize, 4, 5, 6, 90)
	path := filepath.Join(t.TempDir(), "local.db")
	want := []uint32{2, 3, 4, 5, 9, 50, 51, 90, 100}
	k, l := b.kept(path, nil, want...)
	for _, pgno := range []uint32{3, 4, 51} {
		l.settleKey(b.key(pgno), true)
	}
	if err := k.checkpoint(l); err != nil {
		t.Fatal(err)
	}
	if pgnos, compared := listed(t, path); !slices.Equal(pgnos, want) || !slices.Equal(compared, []uint32{3, 4, 51}) {
		t.Errorf("it lists pages %d, compared %d", pgnos, compared)
	}
	raw, err := readRecordFile(path + recordSuffix)
	if err != nil {
		t.Fatal(err)
	}
	rec, forgotten, err := parseRecord(raw.b)
	if err != nil {
		t.Fatal(err)
	}
	all := rec.pagesOf(b.view(), 2, forgotten, nil)
	first := rec.pagesOf(b.view(), 1, forgotten, nil)
	if all.n != 9 || all.covered != 3 || first.n != 6 || first.covered != 2 || first.set.Has(90) || !all.set.Has(90) {
		t.Errorf("%d pages up to transaction 2, %d up to 1", all.n, first.n)
	}
}

// overwrite changes bytes of a hydration file, as a disk does that has lost what was
// written there.
func overwrite(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	_, err = f.WriteAt(b, off)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
}

// A sync that fails may have lost what was written, and the next one does not tell. So
// pages that no record lists are given up, and copied again.
func TestKeeper_SyncFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		syncs := 0
		h := b.start(Options{Path: path, OnDisk: func(event string) error {
			if event != "before: sync" {
				return nil
			}
			if syncs++; syncs != 2 { // the first record lists no pages
				return nil
			}
			overwrite(t, path, 0, make([]byte, 100*bedPageSize))
			return syscall.ENOSPC
		}})
		synctest.Wait()
		if p := h.Progress(); p.Status != Failed || !strings.Contains(p.Error, errUnsynced.Error()) || h.Tier.Has(b.key(1)) {
			t.Errorf("page 1 is there: %v, %+v", h.Tier.Has(b.key(1)), p)
		}
		time.Sleep(2 * lastHydrationDelay)
		synctest.Wait()
		b.want(h, Complete, 100, 100)
		if pgnos, _ := listed(t, path); len(pgnos) != 100 {
			t.Errorf("the record lists %d pages", len(pgnos))
		}
	})
}

// Before a page is overwritten, its number is appended to the record. The record is
// replaced only if that was cut short.
func TestKeeper_Forget(t *testing.T) {
	b := newBed(t)
	path := filepath.Join(t.TempDir(), "local.db")
	var events []string
	var fail string
	k, l := b.kept(path, func(event string) error {
		if op, ok := strings.CutPrefix(event, "before: "); ok {
			events = append(events, op)
		}
		if event == fail {
			return syscall.ENOSPC
		}
		return nil
	}, 1, 2, 3, 4, 5)
	step := func(what string, txid ltx.TXID, changed uint32, wantErr error, wantEvents string, wantPages ...uint32) {
		t.Helper()
		events = nil
		if l.view() == b.view() {
			b.apply(txid, 100, bedPageSize, changed)
		}
		err := k.forget(l, l.view(), b.view())
		if !errors.Is(err, wantErr) || fmt.Sprint(events) != wantEvents || (l.view() == b.view()) != (wantErr == nil) {
			t.Errorf("%s: %v, %s, want %s", what, err, events, wantEvents)
		}
		if pgnos, _ := listed(t, path); !slices.Equal(pgnos, wantPages) {
			t.Errorf("%s: the record lists pages %d, want %d", what, pgnos, wantPages)
		}
	}
	step("a page", 2, 1, nil, "[append to record]", 2, 3, 4, 5)
	step("another page", 3, 3, nil, "[append to record]", 2, 4, 5)
	step("a page that is not there", 4, 60, nil, "[]", 2, 4, 5)
	fail = "before: append to record"
	step("no room", 5, 4, syscall.ENOSPC, "[append to record]", 2, 4, 5)
	fail = ""
	step("room again", 5, 4, nil, "[write record]", 2, 5)
	step("after that", 6, 2, nil, "[append to record]", 5)

	// Another history empties the record first.
	other := emptyBed(t, newBed(t).client.ReplicaClient)
	other.apply(1, 100, bedPageSize)
	next := *other.view()
	next.Epoch = 1
	fail = "before: write record"
	if err := k.forget(l, l.view(), &next); !errors.Is(err, syscall.ENOSPC) || l.view() != b.view() {
		t.Errorf("the record lists pages of a history, and the file holds another one: %v", err)
	}
	fail = ""
	if err := k.forget(l, l.view(), &next); err != nil || l.view() != &next || l.count.Load() != 0 {
		t.Errorf("%d pages of another history: %v", l.count.Load(), err)
	}
	if pgnos, _ := listed(t, path); len(pgnos) != 0 {
		t.Errorf("the record lists pages %d of another history", pgnos)
	}
}

// A record that was replaced lists its pages even if the replacement is not known to have
// succeeded, because the folder could not be synced. A page of it is overwritten only
// after another record.
func TestKeeper_ForgetTorn(t *testing.T) {
	b := newBed(t)
	path := filepath.Join(t.TempDir(), "local.db")
	fail := ""
	k, l := b.kept(path, func(event string) error {
		if event == fail {
			return syscall.ENOSPC
		}
		return nil
	}, 1, 2, 3)
	if _, err := l.write(b.view().Epoch, 4, []ltx.TXID{1}, b.content[4]); err != nil {
		t.Fatal(err)
	}
	want := func(what string, err, wantErr error, wantPages ...uint32) {
		t.Helper()
		if pgnos, _ := listed(t, path); !errors.Is(err, wantErr) || !slices.Equal(pgnos, wantPages) {
			t.Errorf("%s: %v, the record lists pages %d, want %d", what, err, pgnos, wantPages)
		}
	}
	fail = "after: write record"
	want("a record that may not last", k.checkpoint(l), syscall.ENOSPC, 1, 2, 3, 4)
	before := l.view()
	b.apply(2, 100, bedPageSize, 4)
	fail = "before: write record"
	want("no room for another one", k.forget(l, before, b.view()), syscall.ENOSPC, 1, 2, 3, 4)
	if l.view() != before {
		t.Error("page 4 may be overwritten while the record lists it")
	}
	fail = ""
	want("room again", k.forget(l, before, b.view()), nil, 1, 2, 3)
	if l.view() != b.view() {
		t.Error("the next view is not held")
	}
}

// A file that something else has made is left as it is, and so is one at the place of
// the record. A file that is empty is used.
func TestOpenKept_Foreign(t *testing.T) {
	for _, tt := range []struct {
		name, file, record string
		want               string // in the error; empty: none
	}{
		{"nothing", "", "", ""},
		{"a file", "a letter", "", "there is no record"},
		{"a record that is none", "", "another letter", "something else"},
		{"a file and a record that is none", "a letter", "another letter", "something else"},
		{"a newer version", "pages", anyMagic + "9\nmore", `format "9"`},
		{"a newer version, cut off", "pages", anyMagic + "47", `format "47"`},
		{"a newer version, cut off early", "pages", anyMagic, `format ""`},
	} {
		path := filepath.Join(t.TempDir(), "local.db")
		files := map[string]string{path: tt.file}
		if tt.record != "" {
			files[path+recordSuffix] = tt.record
		}
		for name, text := range files {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b := newBed(t)
		_, k, err := openKept(path, "", b.access.Log, time.Now)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			_ = k.close()
			continue
		}
		for name, text := range files {
			if got, err := os.ReadFile(name); err != nil || string(got) != text {
				t.Errorf("%s: %s is %q now, %v", tt.name, name, got, err)
			}
		}
	}
}

// The next process goes on with what the record lists, and reads the rest only. What it
// cannot trust, it reads anew.
func TestHydrator_Resumes(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, b *bed, path string) (reads bool){
		"the same view": func(*testing.T, *bed, string) bool { return false },
		"two pages have changed": func(_ *testing.T, b *bed, _ string) bool {
			b.apply(2, 100, bedPageSize, 10, 50)
			return true
		},
		"a page of the file was overwritten": func(t *testing.T, b *bed, path string) bool {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt(make([]byte, 100*bedPageSize), 0)
			}
			if err = errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			return true
		},
	} {
		path := filepath.Join(t.TempDir(), "local.db")
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			h := b.start(Options{Path: path})
			synctest.Wait()
			b.want(h, Complete, 100, 100)
			b.close()
			next := b.another()
			reads := change(t, next, path)
			h = next.start(Options{Path: path})
			synctest.Wait()
			next.want(h, Complete, 100, 100)
			if (next.reads() != 0) != reads || next.reads() > 6 {
				t.Errorf("%s: %d requests", name, next.reads())
			}
		})
	}
}

// A process that has borrowed the file goes on with the pages that the owner has left. If
// the file cannot hold its view, it does not go on with a file without one.
func TestKeeper_ResumesBorrowed(t *testing.T) {
	for _, broken := range []bool{false, true} {
		b := newBed(t)
		file, k, err := openKept(filepath.Join(t.TempDir(), "local.db"), "", b.access.Log, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		l := newLocalPages(file, bedPageSize, nil)
		left := trustedPages{set: view.NewBitmap(100), n: 2, compared: view.NewBitmap(100)}
		left.set.Set(3)
		left.set.Set(5)
		if broken {
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}
		err = k.resume(l, b.view(), b.access, left, true, false, nil)
		if broken && (err == nil || l.view() != nil) {
			t.Errorf("it goes on with a file that is closed: %v", err)
		}
		if !broken && (err != nil || l.count.Load() != 2 || !l.hasKey(b.key(3)) || l.hasKey(b.key(4)) || b.access.Store.Lists.Load() != 0) {
			t.Errorf("it goes on with %d pages: %v", l.count.Load(), err)
		}
		_ = k.close()
	}

	// If the owner has left none, there may still be a record.
	b := newBed(t)
	k, _ := b.kept(filepath.Join(t.TempDir(), "local.db"), nil, 3, 4, 5)
	l := newLocalPages(k.file, bedPageSize, nil)
	var err error
	if k.old, err = readRecordFile(k.path); err != nil {
		t.Fatal(err)
	}
	k.marked = true
	if err := k.resume(l, b.view(), b.access, trustedPages{}, true, false, nil); err != nil || l.count.Load() != 3 {
		t.Errorf("it goes on with %d pages of the record: %v", l.count.Load(), err)
	}
}

// A file with a hard link is not written to, because another process may know it by the
// other name. A new file takes its place.
func TestHydrator_HardLink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start(Options{Path: path})
		synctest.Wait()
		b.close()
		if err := os.Link(path, path+".backup"); err != nil {
			t.Skip(err)
		}
		before, err := os.ReadFile(path + ".backup")
		if err != nil {
			t.Fatal(err)
		}
		n := b.another()
		n.apply(2, 100, bedPageSize, 10)
		h := n.start(Options{Path: path})
		synctest.Wait()
		n.want(h, Complete, 100, 100)
		if after, err := os.ReadFile(path + ".backup"); err != nil || !bytes.Equal(after, before) {
			t.Errorf("the other name has another content: %v", err)
		}
		if a, b := h.file.IsThere(), h.Progress().File == path; !a || !b {
			t.Error("the path does not name the file")
		}
	})
}

// A record of other pages, transactions or files is not that of a state.
func TestRecord_IsOfStateOf(t *testing.T) {
	if !goldenRecord().isOfStateOf(goldenRecord()) {
		t.Error("it is not of its own state")
	}
	for name, change := range map[string]func(r *record){
		"file":      func(r *record) { r.FileID = "" },
		"txid":      func(r *record) { r.TXID++ },
		"page size": func(r *record) { r.PageSize *= 2 },
		"commit":    func(r *record) { r.Commit++ },
		"pages":     func(r *record) { r.runs = makeRuns(300, 5, 1, 0, 699, 6) },
		"files":     func(r *record) { r.Files[1].Checksum++ },
		"less":      func(r *record) { r.Files = r.Files[:1] },
	} {
		r := goldenRecord()
		change(r)
		if r.isOfStateOf(goldenRecord()) || goldenRecord().isOfStateOf(r) {
			t.Errorf("with another %s it is of the same state", name)
		}
	}
	r := goldenRecord()
	slices.Reverse(r.Files)
	if r.Fresh++; !r.isOfStateOf(goldenRecord()) {
		t.Error("the order of its files and the time do not matter")
	}
}

// A record of few bytes can list more pages than memory has room for. None of them is
// believed before the file is as large.
func TestRecall_TooManyPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	r := goldenRecord()
	const pages = 1 << 24 // whose places take some MB
	r.Commit, r.runs, r.Compared = pages, makeRuns(pages, 7), nil
	b, _, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path+recordSuffix, b, 0o600), os.WriteFile(path, make([]byte, 100), 0o600)); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = Recall(path, r.Replica)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "it has 100 bytes, and should have") {
		t.Errorf("it is recalled: %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated for a record of %d", n, len(b))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Recall(path, r.Replica); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}

// A recalled state is served without storage, before it is known to be the newest. A
// page that changes leaves the record before it is overwritten.
func TestHydrator_Recalled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start(Options{Path: path})
		synctest.Wait()
		b.close()
		recalled := func() (*bed, *Recalled) {
			r, err := Recall(path, "")
			if err != nil {
				t.Fatal(err)
			}
			next := b.another()
			next.access.Views.Current.Store(r.View)
			return next, r
		}

		next, r := recalled()
		if !slices.Equal(r.View.Stamps(), b.view().Stamps()) {
			t.Errorf("its times are %+v", r.View.Stamps())
		}
		h := next.new(Options{Path: path})
		for range 2 { // Abort gives the file back, and does nothing the second time
			if err := h.OpenRecalled(r); err != nil {
				t.Fatal(err)
			}
			next.want(h, Idle, 100, 100)
			for range 2 {
				if err := h.Abort(); err != nil {
					t.Error(err)
				}
			}
		}

		h.Start() // it opens the file as one that nothing was recalled of
		synctest.Wait()
		next.want(h, Complete, 100, 100)
		next.close()

		next, r = recalled()
		written := 0
		h = next.new(Options{Path: path, OnDisk: func(event string) error {
			if event == "before: sync" && written == 0 {
				t.Error("the record is written anew, and nothing has changed")
			}
			if event == "before: write pages" {
				written++
				if pgnos, _ := listed(t, path); slices.Contains(pgnos, 10) || len(pgnos) != 98 {
					t.Errorf("while page 10 is overwritten, the record lists %d pages", len(pgnos))
				}
			}
			return nil
		}})
		if err := h.OpenRecalled(r); err != nil {
			t.Fatal(err)
		}
		h.Start()
		time.Sleep(time.Hour)
		synctest.Wait()
		next.want(h, Complete, 100, 100)
		if n := next.reads(); n != 0 || next.access.Store.Lists.Load() != 0 || h.Progress().Owner != 0 || h.local() == nil {
			t.Errorf("%d requests, %+v", n, h.Progress())
		}
		// What the view was recalled from is the first file of the bed.
		l, err := next.access.Store.LoadFile(t.Context(), next.listed()[0])
		if err != nil {
			t.Fatal(err)
		}
		v, err := new(view.View).Advance(l.File, l.Index)
		if err != nil {
			t.Fatal(err)
		}
		next.access.Views.Current.Store(v)
		h.Tier.Notify()
		synctest.Wait()
		next.apply(2, 100, bedPageSize, 10, 11)
		h.Tier.Notify()
		synctest.Wait()
		next.want(h, Complete, 100, 100)
		if written != 1 || !bytes.Equal(h.Tier.Read(next.key(10)), next.content[10]) {
			t.Errorf("pages were written %d times", written)
		}
	})
}
