package write

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// listing returns files with names like "0/1-1", of 100 bytes each.
func (b *bed) listing(names string) (files []*ltx.FileInfo) {
	b.t.Helper()
	for name := range strings.FieldsSeq(names) {
		k := b.keyOf(name)
		files = append(files, &ltx.FileInfo{Level: k.Level, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID, Size: 100})
	}
	return files
}

// TestLooks says what one or two listings tell of the state after transaction 3.
func TestLooks(t *testing.T) {
	b := &bed{t: t}
	for _, tt := range []struct {
		first, second string // "-": there is no second one
		gap           string // missing transactions; empty: none
		beyond        string
		torn          bool
	}{
		{"0/1-1 0/2-2 0/3-3", "-", "", "", false},
		{"0/1-1 0/3-3", "-", "2-2", "", true},
		{"0/2-2 0/3-3", "-", "1-1", "", true},
		{"1/1-2", "-", "3-3", "", false},
		{"", "-", "1-3", "", false},
		{"0/4-4 1/1-3", "-", "", "0/4-4", false},
		{"1/1-3 0/4-4", "-", "", "0/4-4", false},
		{"1/1-3 0/3-3", "-", "", "", false},
		{"1/1-3 0/5-5", "-", "", "0/5-5", true},
		{"0/1-1 0/2-2", "1/1-3", "3-3", "", false}, // the first one is torn by a merge
		{"1/1-3", "0/1-1 0/3-3", "2-2", "", false},
		{"1/1-3", "1/1-3 0/4-4", "", "0/4-4", false},
		{"1/1-3", "1/1-3", "", "", false},
	} {
		looks := looks{b.listing(tt.first)}
		all := tt.first
		if tt.second != "-" {
			looks = append(looks, b.listing(tt.second))
			all += " " + tt.second
		}
		gap := ""
		var missing *errs.MissingError
		if err := looks.gap(3); errors.As(err, &missing) {
			gap = strings.Join([]string{missing.First.String()[15:], missing.Last.String()[15:]}, "-")
		}
		beyond := ""
		if f := looks.beyond(3); f != nil {
			beyond = shortName(view.KeyOf(f))
		}
		if gap != tt.gap || beyond != tt.beyond || looks.isTorn() != tt.torn {
			t.Errorf("%s and %s: gap %q, beyond %q, torn %v", tt.first, tt.second, gap, beyond, looks.isTorn())
		}
		have := fileSet(b.listing(all))
		if union := looks.union(); len(union) != len(have) || len(fileSet(union)) != len(have) {
			t.Errorf("%s and %s together: %s", tt.first, tt.second, names(union))
		}
	}
}

// A file that a listing describes otherwise is another file, as far as both tell.
func TestIsSameFile(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		a, b ltx.FileInfo
		want bool
	}{
		{ltx.FileInfo{Size: 1, CreatedAt: now}, ltx.FileInfo{Size: 1, CreatedAt: now.UTC()}, true},
		{ltx.FileInfo{Size: 1, CreatedAt: now}, ltx.FileInfo{Size: 2, CreatedAt: now}, false},
		{ltx.FileInfo{Size: 1, CreatedAt: now}, ltx.FileInfo{Size: 1, CreatedAt: now.Add(1)}, false},
		{ltx.FileInfo{Size: 1, CreatedAt: now}, ltx.FileInfo{Size: 1}, true},
		{ltx.FileInfo{Size: 1}, ltx.FileInfo{Size: 1, CreatedAt: now}, true},
		{ltx.FileInfo{Size: 1}, ltx.FileInfo{Size: 2}, false},
	} {
		if got := isSameFile(&tt.a, &tt.b); got != tt.want {
			t.Errorf("%+v and %+v: %v", tt.a, tt.b, got)
		}
	}
}

// TestSecondLook says what a listing means that has none of the files of the newest
// state, which is that of transaction 2.
func TestSecondLook(t *testing.T) {
	const older, younger = -1000, 1000 // milliseconds before and after the newest state
	for _, tt := range []struct {
		name     string
		newest   string         // what is where the newest file was: "own", "other", "damaged" or "" for nothing
		files    map[string]int // files that the listing has, with their time
		known    string         // files that the listing has as they were known
		resized  string         // files that it has with another size
		replaced bool
		wrong    bool // the error is ErrWrongListing
	}{
		{name: "the newest file can be read", newest: "own", wrong: true},
		{name: "it can be read, and others are listed", newest: "own", files: map[string]int{"1/1-2": younger}, wrong: true},
		{name: "it has another content", newest: "other", replaced: true},
		{name: "it is not as long", newest: "damaged", replaced: true},
		{name: "nothing is left"},
		{name: "known files are left", known: "0/1-1"},
		{name: "a known file has another size", resized: "0/1-1", replaced: true},
		{name: "a younger file", files: map[string]int{"1/1-2": younger}, replaced: true},
		{name: "an older file", files: map[string]int{"1/1-2": older}, wrong: true},
		{name: "one of the same time", files: map[string]int{"1/1-2": 0}, wrong: true},
		{name: "a younger file beside a known one", files: map[string]int{"1/1-2": younger}, known: "0/1-1"},
		{name: "the next file", files: map[string]int{"0/3-3": younger}},
		{name: "the newest unknown file decides", files: map[string]int{"1/1-1": younger, "1/1-2": older}, wrong: true},
		// A snapshot has the time of its creation.
		{name: "an older file, and a younger snapshot of it", files: map[string]int{"1/1-2": older, "9/1-2": younger}, wrong: true},
		{name: "a younger file, and an older snapshot", files: map[string]int{"1/1-2": younger, "9/1-2": older}, replaced: true},
	} {
		inBed(t, func(b *bed) {
			time.Sleep(time.Hour)
			b.commit(1, 2)
			b.sync()
			b.commit(2)
			b.sync()
			all := b.files()
			switch tt.newest {
			case "other":
				b.put("0/2-2", b.newest(), 2, 2)
			case "damaged":
				b.write("0/2-2", ltx.Header{PageSize: 512, Commit: 1, Timestamp: b.newest()}, nil)
			case "":
				b.remove("0/2-2")
			}
			for name, after := range tt.files {
				pgnos := []uint32{1, 2}
				b.put(name, b.newest()+int64(after), 2, pgnos...)
			}
			var files []*ltx.FileInfo
			for _, f := range b.files() {
				if _, ok := tt.files[shortName(view.KeyOf(f))]; ok {
					files = append(files, f)
				}
			}
			for _, f := range all {
				name := shortName(view.KeyOf(f))
				if name == tt.known {
					files = append(files, f)
				}
				if name == tt.resized {
					again := *f
					again.Size++
					files = append(files, &again)
				}
			}
			replaced, err := b.SecondLook(b.t.Context(), b.Views.Current.Load(), files)
			if replaced != tt.replaced || errors.Is(err, ErrWrongListing) != tt.wrong || err != nil && !tt.wrong {
				b.t.Errorf("%s: replaced %v, %v", tt.name, replaced, err)
			}
		})
	}
	inBed(t, func(b *bed) {
		if replaced, err := b.SecondLook(b.t.Context(), b.Views.Current.Load(), nil); replaced || err != nil {
			b.t.Errorf("before the first transaction: %v, %v", replaced, err)
		}
		b.commit(1)
		b.sync()
		b.client.refuse(func(string) error { return fs.ErrPermission })
		if _, err := b.SecondLook(b.t.Context(), b.Views.Current.Load(), nil); !errors.Is(err, fs.ErrPermission) {
			b.t.Errorf("a file that cannot be read: %v", err)
		}
	})
}

// A replica that was replaced while nothing was synced is seen before the next upload.
func TestLookAhead_OtherHistory(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.sync()
		b.commit(2)
		b.sync()
		time.Sleep(surely)
		b.remove("0/1-1", "0/2-2")
		b.put("9/1-1", time.Now().UnixMilli(), 2, 1, 2)
		b.index.replaced = func([]*ltx.FileInfo) bool { return true }
		b.client.take()
		b.commit(1)
		if err := b.trySync(); !errors.Is(err, errs.ErrConflict) || !strings.Contains(err.Error(), errOtherHistory.Error()) {
			b.t.Errorf("sync: %v", err)
		}
		synctest.Wait()
		if got := b.client.take(); strings.Contains(got, "create") || strings.Contains(got, "delete") {
			b.t.Errorf("it uploads to another history: %s", got)
		}
		b.want("9/1-1")
	})
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.sync()
		time.Sleep(surely)
		b.index.err = fs.ErrPermission
		b.client.take()
		b.commit(1)
		time.Sleep(2 * b.Opts.SyncInterval)
		if s := b.Status(); !errors.Is(s.Problem, fs.ErrPermission) || s.Unsynced == 0 || s.Lost {
			b.t.Errorf("if it is not known whether it was replaced: %+v", s)
		}
		if got := b.client.take(); strings.Contains(got, "create") {
			b.t.Errorf("it uploads nevertheless: %s", got)
		}
	})
}

// A file of another writer that has the next transaction ends write mode before
// anything is uploaded, whatever its level.
func TestLookAhead_Overtaken(t *testing.T) {
	for name, isLost := range map[string]bool{"0/2-3": true, "0/3-3": true, "1/1-2": true, "9/1-2": true, "1/1-1": false} {
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			b.sync()
			time.Sleep(surely)
			b.put(name, b.newest(), 2, 1, 2)
			b.client.take()
			b.commit(2)
			if err := b.trySync(); errors.Is(err, errs.ErrConflict) != isLost || err != nil && !isLost {
				b.t.Errorf("%s: %v", name, err)
			}
			if got := b.client.take(); strings.Contains(got, "create") == isLost {
				b.t.Errorf("%s: %s", name, got)
			}
		})
	}
}

// Another writer may write while an upload is under way, which has the same name as
// an earlier file of that writer, or is followed by one.
func TestVerify_Race(t *testing.T) {
	for _, tt := range []struct {
		name     string
		replaced bool
		late     bool         // the last look at the replica was a while ago
		other    func(b *bed) // while the file is uploaded
		isLost   bool
		want     string // files of the replica
		problem  string // of a sync that does not end; empty: it does
	}{
		{name: "a file that follows", other: func(b *bed) { b.put("0/3-3", b.newest(), 2, 2) }, want: "0/1-1 0/2-2 0/3-3"},
		{name: "the same a while after the last look", late: true, other: func(b *bed) { b.put("0/3-3", b.newest(), 2, 2) }, want: "0/1-1 0/2-2 0/3-3"},
		{name: "a merged file with the transaction", late: true, other: func(b *bed) { b.put("1/1-2", b.newest(), 2, 1, 2) }, isLost: true, want: "0/1-1 1/1-2"},
		{name: "a merged file with more", late: true, other: func(b *bed) { b.put("1/1-4", b.newest(), 2, 1, 2) }, isLost: true, want: "0/1-1 1/1-4"},
		{name: "a merged file that begins with the transaction", late: true, other: func(b *bed) { b.put("1/2-3", b.newest(), 2, 1, 2) }, isLost: true, want: "0/1-1 1/2-3"},
		{name: "a merged file before", late: true, other: func(b *bed) { b.merge("1/1-1") }, want: "0/1-1 0/2-2 1/1-1"},
		{name: "the file before is another one", replaced: true, other: func(b *bed) {
			b.put("0/1-1", b.newest(), 2, 1, 2)
		}, isLost: true, want: "0/1-1"},
		{name: "a hole, and a file that follows", other: func(b *bed) {
			b.remove("0/1-1")
			b.put("0/3-3", b.newest(), 2, 2)
		}, want: "0/2-2 0/3-3", problem: "another writer has made"},
	} {
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			b.sync()
			if tt.late {
				time.Sleep(surely)
			}
			b.commit(2)
			b.client.refuse(func(request string) error {
				if request == "create 0/2-2" {
					if tt.other(b); tt.replaced {
						b.index.replaced = func([]*ltx.FileInfo) bool { return true }
					}
				}
				return nil
			})
			err := b.trySync()
			synctest.Wait()
			switch {
			case tt.problem != "":
				if err == nil || !strings.Contains(err.Error(), tt.problem) || b.Status().Unsynced == 0 {
					b.t.Errorf("%s: %v", tt.name, err)
				}
			case errors.Is(err, errs.ErrConflict) != tt.isLost, err != nil && !tt.isLost:
				b.t.Errorf("%s: %v", tt.name, err)
			}
			b.want(tt.want)
		})
	}
}

// The loser of a race deletes its file before write mode ends, although deletions fail
// for a while, longer than a sync may take. Only a file that may not be deleted is left.
func TestVerify_RaceDeleteFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail error
		last time.Duration // how long deletions fail
		want string
	}{
		{"once", syscall.ECONNRESET, 1, "0/1-1 1/1-2"},
		{"for longer than a sync", syscall.ECONNRESET, 20 * time.Second, "0/1-1 1/1-2"},
		{"for ever", fs.ErrPermission, time.Hour, "0/1-1 0/2-2 1/1-2"},
	} {
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			b.sync()
			time.Sleep(surely)
			b.commit(2)
			raced := false
			var first time.Time // when the file was to be deleted first
			b.client.refuse(func(request string) error {
				switch request {
				case "create 0/2-2":
					if !raced {
						raced = true
						b.put("1/1-2", b.newest(), 2, 1, 2)
					}
				case "delete 0/2-2":
					if first.IsZero() {
						first = time.Now()
					}
					if time.Since(first) < tt.last {
						return tt.fail
					}
				}
				return nil
			})
			err := b.trySync()
			synctest.Wait()
			if !errors.Is(err, errs.ErrConflict) || !b.Status().Lost || first.IsZero() {
				b.t.Errorf("%s: %v, %+v", tt.name, err, b.Status())
			}
			b.want(tt.want)
			if got, left := strings.Contains(b.log.String(), "delete it by hand"), strings.Contains(tt.want, "0/2-2"); got != left {
				b.t.Errorf("%s: the log says that the file is left: %v; %s", tt.name, got, b.log)
			}
		})
	}
}

// A file that is deleted right after its upload does not count. It is made again.
func TestVerify_Deleted(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.sync()
		b.commit(2)
		deleted := false
		b.client.refuse(func(request string) error {
			if request == "list 0/1" && !deleted {
				deleted = true
				b.remove("0/2-2")
			}
			return nil
		})
		b.sync()
		b.want("0/1-1 0/2-2")
		b.wantPages()
		if s := b.Status(); s.Counts.Failures != 1 || !strings.Contains(b.log.String(), "was deleted after its upload") {
			b.t.Errorf("%+v, %s", s, b.log)
		}
	})
}

// Another history ends write mode also while there is nothing to upload.
func TestLook_OtherHistory(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.sync()
		before := b.Views.Newest()
		b.remove("0/1-1")
		b.put("0/1-1", b.newest()-1000, 2, 1, 2)
		b.index.replaced = func([]*ltx.FileInfo) bool { return true }
		b.Suspect()
		if err := b.trySync(); !errors.Is(err, errs.ErrConflict) || b.IsEnabled() || !b.Status().Lost {
			b.t.Errorf("%v, %+v", err, b.Status())
		}
		if b.Views.Newest().State != before.State {
			b.t.Error("nothing was written, and SQLite has to read its pages again")
		}
	})
}

// Files that were uploaded since the last look are known.
func TestSecondLook_Uploaded(t *testing.T) {
	inBed(t, func(b *bed) {
		for range 3 {
			b.commit(1)
			b.sync()
		}
		files := b.files()[1:2]
		b.remove("0/3-3")
		if replaced, err := b.SecondLook(b.t.Context(), b.Views.Current.Load(), files); replaced || err != nil {
			b.t.Errorf("with %s: replaced %v, %v", names(files), replaced, err)
		}
	})
}

// Compaction is told of a snapshot that is outgrown as soon as a look shows it, but
// not by a database that does not write.
func TestLooked_Outgrown(t *testing.T) {
	inBed(t, func(b *bed) {
		plan := b.listing("9/1-1 0/2-2")
		plan[1].Size = 2 << 20
		b.OpenedWith(time.Now(), plan, plan)
		if b.news != 1 || !b.TakeOutgrown() || b.TakeOutgrown() {
			b.t.Errorf("told %d times", b.news)
		}
		if err := b.Disable(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		if b.OpenedWith(time.Now(), plan, plan); b.news != 1 || !b.TakeOutgrown() {
			b.t.Errorf("told %d times", b.news)
		}
	})
}

// Files that are missing are replaced by a snapshot, whose pages are read ahead. It is
// made of what can still be read.
func TestMend(t *testing.T) {
	for _, tt := range []struct {
		removed, want, named string
	}{
		{"0/1-1", "0/2-2 9/1-2", "0/0000000000000001-0000000000000001.ltx"},
		{"", "0/1-1 0/2-2", ""},
	} {
		inBed(t, func(b *bed) {
			b.commitTo(300, manyPages(300)...)
			b.sync()
			b.commitTo(300, 7, 300)
			b.sync()
			pages := make(map[uint32][]byte)
			for pgno := range uint32(300) {
				page, err := b.pages.Page(b.t.Context(), b.Views.Current.Load(), pgno+1)
				if err != nil {
					b.t.Fatal(err)
				}
				pages[pgno+1] = page
			}
			b.Pages.(*bedPages).have = pages
			if tt.removed != "" {
				b.remove(tt.removed)
			}
			b.Suspect()
			b.sync()
			b.want(tt.want)
			b.wantPages()
			if tt.removed == "" {
				return
			}
			if got := b.index.pointed; len(got) != 1 || got[0] != "9/1-2" {
				b.t.Errorf("views point to %s", got)
			}
			got := b.pages.prefetched
			for i, pgno := range got {
				if pgno != uint32(i)+1 {
					b.t.Fatalf("it reads page %d ahead", pgno)
				}
			}
			if len(got) < 300 {
				b.t.Errorf("it reads %d pages ahead", len(got))
			}
			if log := b.log.String(); !strings.Contains(log, "missing: "+tt.named) || b.Status().Counts.Mended != 1 {
				b.t.Errorf("%+v, %s", b.Status(), log)
			}
			hdr, _ := b.decode(view.Key{Level: 9, MinTXID: 1, MaxTXID: 2})
			if hdr.Timestamp != b.newest() || hdr.Commit != 300 {
				b.t.Errorf("%+v", hdr)
			}
		})
	}
}

// While missing files cannot be replaced, commits stay in the write buffer, and a
// goroutine that waits for them learns why.
func TestMend_Hole(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.sync()
		b.commit(2)
		b.sync()
		b.remove("0/1-1")
		b.Suspect()
		err := b.trySync()
		var missing *errs.MissingError
		if s := b.Status(); !errors.Is(s.Problem, fs.ErrNotExist) || s.Counts.Failures == 0 {
			b.t.Errorf("%+v", s)
		}
		if !errors.As(err, &missing) || missing.First != 1 || missing.Last != 1 || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "commits stay in the write buffer") {
			b.t.Errorf("sync: %v", err)
		}
		synctest.Wait()
		b.want("0/2-2")
		b.put("0/1-1", 0, 2, 1, 2)
		time.Sleep(b.Opts.SyncInterval)
		if err := b.trySync(); err != nil {
			b.t.Errorf("once the file is back: %v", err)
		}
	})
}
