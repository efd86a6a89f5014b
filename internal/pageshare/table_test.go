package pageshare

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"
)

var testID = FileID{Mark: [16]byte{1, 2, 3}, Number: 7}

// ownerAndBorrower returns a table with room for ten pages of one process, as
// both sides see it.
func ownerAndBorrower(t *testing.T) (o, b *Table) {
	t.Helper()
	if _, err := bootID(); err != nil {
		t.Skip("no sharing here:", err)
	}
	path := filepath.Join(t.TempDir(), "pages"+Suffix)
	o, err := Create(path, testID, 512, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	if err := o.Room(10); err != nil {
		t.Fatal(err)
	}
	b, err = Open(path, testID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if err := b.Follow(); err != nil {
		t.Fatal(err)
	}
	return o, b
}

func read(t *Table, generation uint64, pgno uint32, during func()) bool {
	return t.Read(generation, pgno, func(v ltx.TXID) bool { return v <= 7 }, func(int64) error {
		during()
		return nil
	})
}

// TestTable_Read changes a page while it is read.
func TestTable_Read(t *testing.T) {
	for name, tc := range map[string]struct {
		during func(o *Table)
		want   bool
	}{
		"nothing":                 {func(*Table) {}, true},
		"absent":                  {func(o *Table) { o.Clear(3) }, false},
		"overwritten":             {func(o *Table) { o.Clear(3); o.Put(3, []ltx.TXID{7}) }, false},
		"another generation":      {func(o *Table) { o.Renew(512); o.Put(3, []ltx.TXID{5}) }, false},
		"another owner":           {func(o *Table) { _ = o.Own(512) }, false},
		"compared":                {func(o *Table) { o.Compared(3) }, true},
		"another page":            {func(o *Table) { o.Clear(4) }, true},
		"a table that is cut off": {func(o *Table) { _ = os.Truncate(o.path, 4096) }, false},
		"cut off and grown again": {func(o *Table) { _ = os.Truncate(o.path, 0); _ = os.Truncate(o.path, 1<<20) }, false},
		"a table that is closed":  {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, b := ownerAndBorrower(t)
			o.Put(3, []ltx.TXID{5, 6})
			s, ok := b.Status()
			if !ok {
				t.Fatal("no status")
			}
			during := func() {
				if tc.during != nil {
					tc.during(o)
				} else {
					b.Close()
				}
			}
			if got := read(b, s.Generation, 3, during); got != tc.want {
				t.Errorf("it was read: %v", got)
			}
			if read(b, s.Generation+7, 3, func() {}) || read(b, s.Generation, 9, func() {}) || read(b, s.Generation, 1<<31, func() {}) {
				t.Error("read what is not there")
			}
		})
	}
}

// A page in a version that the reader refuses is not copied.
func TestTable_ReadRefused(t *testing.T) {
	o, b := ownerAndBorrower(t)
	o.Put(3, []ltx.TXID{8})
	s, _ := b.Status()
	if read(b, s.Generation, 3, func() { t.Error("it is copied") }) {
		t.Error("it is read")
	}
}

// A new generation begins without any page, whatever its version was.
func TestTable_RenewAll(t *testing.T) {
	o, b := ownerAndBorrower(t)
	pages := uint32(segmentLen) + 3
	if err := o.Room(pages); err != nil {
		t.Fatal(err)
	}
	if err := b.Follow(); err != nil {
		t.Fatal(err)
	}
	for pgno := uint32(1); pgno <= pages; pgno++ {
		o.Put(pgno, []ltx.TXID{ltx.TXID(1 + pgno%3)})
	}
	o.Publish(Published{TXID: 1})
	o.Renew(512)
	o.Publish(Published{TXID: 1})
	// The last segment is not whole in the file, so nothing beyond the room is mapped.
	if s, ok := o.Status(); !ok || s.State != InUse || !o.IsIntact() {
		t.Fatalf("the table is %v, intact: %v", s.State, o.IsIntact())
	}
	for pgno := uint32(1); pgno <= pages; pgno++ {
		if v, _ := b.Word(pgno); v != 0 {
			t.Fatalf("page %d is there in version %d", pgno, v)
		}
	}
}

// Borrowers leave a table that cannot grow: the owner goes on without it.
func TestTable_NoRoom(t *testing.T) {
	o, b := ownerAndBorrower(t)
	f := o.f
	defer func() { o.f = f }()
	readOnly, err := os.Open(o.path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	o.f = readOnly
	if err := o.Room(growth + 1); err == nil {
		t.Fatal("it has grown")
	}
	if s, ok := b.Status(); ok && s.State != Withdrawn {
		t.Errorf("borrowers see the state %v", s.State)
	}
	generation := func() (n uint64) {
		o.guard(func(h *head) { n = h.generation.Load() })
		return n
	}
	before := generation()
	if o.Withdraw(); generation() != before {
		t.Error("it is withdrawn twice")
	}
	var none *Table
	none.Withdraw() // an owner without a table has none to withdraw
}

// A table whose file cannot be looked at has no room for a borrower, and says so when
// it is closed.
func TestTable_FileFails(t *testing.T) {
	_, b := ownerAndBorrower(t)
	if err := b.f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Follow(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("follow: %v", err)
	}
	if err := b.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}

// Anchors that are being changed are not read.
func TestTable_AnchorsHalfChanged(t *testing.T) {
	o, b := ownerAndBorrower(t)
	o.Publish(Published{TXID: 7, Anchors: []Anchor{{MaxTXID: 7}}})
	if _, _, _, ok := b.Anchors(); !ok {
		t.Fatal("no anchors")
	}
	o.guard(func(h *head) { h.turn.Add(1) })
	if all, _, _, ok := b.Anchors(); ok {
		t.Errorf("the anchors are %v", all)
	}
}

// The owner goes on without a table that was cut off.
func TestTable_OwnerCutOff(t *testing.T) {
	o, _ := ownerAndBorrower(t)
	if err := os.Truncate(o.path, 0); err != nil {
		t.Fatal(err)
	}
	o.Put(3, []ltx.TXID{5})
	o.Clear(3)
	o.Renew(512)
	o.Publish(Published{TXID: 1})
	if s, _ := o.Beat(); s != 0 {
		t.Error(s)
	}
	if err := o.Room(1 << 20); err != nil {
		t.Error(err)
	}
	var none *Table
	none.Put(3, []ltx.TXID{1})
	none.Renew(512)
	if err := none.Close(); err != nil {
		t.Error(err)
	}
}

// An owner that cannot write the word of a page has no other word believed from
// then on: it overwrites pages without saying so.
func TestTable_Withdrawn(t *testing.T) {
	o, b := ownerAndBorrower(t)
	o.Publish(Published{TXID: 7})
	o.Put(3, []ltx.TXID{5})
	s, _ := b.Status()
	if err := o.Room(2 * segmentLen); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(o.path, headSize+1<<16); err != nil {
		t.Fatal(err)
	}
	o.Put(segmentLen+5, []ltx.TXID{5}) // faults
	if read(b, s.Generation, 3, func() {}) {
		t.Error("a word is believed")
	}
	if s, _ := b.Status(); s.State != Withdrawn {
		t.Error(s.State)
	}
	if _, _, _, ok := b.Anchors(); ok {
		t.Error("its view is believed")
	}
}

// A goroutine that finds the table withdrawn overwrites pages without clearing their
// words. So borrowers are told first.
func TestTable_WithdrawnLast(t *testing.T) {
	o, b := ownerAndBorrower(t)
	o.writing.Lock() // keeps the head as it is
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Withdraw()
	}()
	for deadline := time.Now().Add(time.Minute); o.mu.TryLock(); runtime.Gosched() {
		o.mu.Unlock()
		if time.Now().After(deadline) {
			t.Error("nothing withdraws the table")
			break
		}
	}
	early := false
	for range 1000 {
		runtime.Gosched()
		early = early || o.withdrawn.Load()
	}
	o.writing.Unlock()
	<-done
	if early {
		t.Error("the owner does not clear words any more, which borrowers still believe")
	}
	if s, ok := b.Status(); !ok || s.State != Withdrawn || !o.withdrawn.Load() {
		t.Errorf("borrowers see the state %v", s.State)
	}
}

// Tables of another boot, file or format are not believed.
func TestTable_Foreign(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(path string) error
		id     FileID
		want   error
	}{
		"another file": {func(string) error { return nil }, FileID{Mark: [16]byte{9}, Number: 7}, ErrNotShared},
		"a copy":       {func(string) error { return nil }, FileID{Mark: testID.Mark, Number: 8}, ErrNotShared},
		"another boot": {func(path string) error { return poke(path, 24, 1) }, testID, ErrNotShared},
		"format":       {func(path string) error { return poke(path, 16, 2) }, testID, ErrFormat},
		"cut off":      {func(path string) error { return os.Truncate(path, 100) }, testID, ErrNotShared},
		"removed":      {os.Remove, testID, ErrNotShared},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := ownerAndBorrower(t)
			if err := tc.change(o.path); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(o.path, tc.id); !errors.Is(err, tc.want) {
				t.Error(err)
			}
		})
	}
}

// poke changes a byte of a file.
func poke(path string, off int64, to byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, off); err == nil {
		_, err = f.WriteAt([]byte{b[0] ^ to ^ 0x40}, off)
	}
	return errors.Join(err, f.Close())
}

// What is published is what is read, and a new table ends the use of the old one.
func TestTable_Publish(t *testing.T) {
	o, b := ownerAndBorrower(t)
	if _, _, _, ok := b.Anchors(); ok {
		t.Error("there are anchors before there is a view")
	}
	o.Publish(Published{TXID: 7, MarkAt: 5120, Total: 10, Anchors: []Anchor{{9, 1, 5, 100, 77}, {0, 6, 7, 30, 78}}})
	all, generation, _, ok := b.Anchors()
	if s, _ := b.Status(); !ok || len(all) != 2 || all[1] != (Anchor{0, 6, 7, 30, 78}) || generation != s.Generation || s.TXID != 7 || s.State != InUse {
		t.Errorf("%v, %+v", all, s)
	}
	b.Use()
	if _, used := o.Beat(); used == 0 {
		t.Error("the use does not show")
	}
	next, err := Create(o.path, testID, 512, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if s, _ := b.Status(); s.State != Abandoned || b.IsThere() {
		t.Errorf("%+v", s)
	}
	if s, _ := o.Beat(); s != Abandoned {
		t.Error(s)
	}
}

// The owner does not change the words of a table that was replaced or removed, so
// nobody believes them. Those of another file stay right, and its pages are copied by
// them.
func TestTable_Replaced(t *testing.T) {
	create := func(id FileID) func(o *Table) error {
		return func(o *Table) error {
			next, err := Create(o.path, id, 512, nil)
			if err != nil {
				return err
			}
			return next.Close()
		}
	}
	for name, tc := range map[string]struct {
		replace func(o *Table) error
		want    bool
	}{
		"the same file": {create(testID), false},
		"another file":  {create(FileID{Mark: [16]byte{9}, Number: 7}), true},
		"removed":       {(*Table).Remove, false},
		"another format": {func(o *Table) error {
			return errors.Join(poke(o.path, 16, 2), create(testID)(o))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, b := ownerAndBorrower(t)
			o.Publish(Published{TXID: 7})
			o.Put(3, []ltx.TXID{5})
			s, ok := b.Status()
			if !ok || !read(b, s.Generation, 3, func() {}) {
				t.Fatal("it is not there")
			}
			if err := tc.replace(o); err != nil {
				t.Fatal(err)
			}
			if got := read(b, s.Generation, 3, func() {}); got != tc.want {
				t.Errorf("its words are believed: %v", got)
			}
			if now, ok := b.Status(); ok && now.State != Abandoned {
				t.Errorf("its state is %v", now.State)
			}
		})
	}
}

// The anchors of a generation are not taken for those of the next one.
func TestTable_AnchorsOfGeneration(t *testing.T) {
	o, b := ownerAndBorrower(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			all, generation, _, ok := b.Anchors()
			if ok && (len(all) != 1 || uint64(all[0].MaxTXID) != generation) {
				t.Errorf("generation %d has the anchors %v", generation, all)
				return
			}
		}
	})
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		s, _ := o.Status()
		o.Publish(Published{TXID: 7, Anchors: []Anchor{{MaxTXID: ltx.TXID(s.Generation)}}})
		o.Beat()
		o.Renew(512)
	}
	stop.Store(true)
	wg.Wait()
}

// A table that was cut off and has grown again begins another generation than the
// one that borrowers know, although its head is empty.
func TestTable_GenerationAfterCut(t *testing.T) {
	o, b := ownerAndBorrower(t)
	before, _ := b.Status()
	if err := os.Truncate(o.path, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(o.path, 1<<20); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		o.Renew(512)
		if s, ok := b.Status(); ok && s.Generation == before.Generation {
			t.Fatalf("it is generation %d again", s.Generation)
		}
	}
}

// A borrower maps no words that the file does not have.
func TestTable_FollowRoom(t *testing.T) {
	o, b := ownerAndBorrower(t)
	if err := poke(o.path, 88+4, 1); err != nil { // billions of words
		t.Fatal(err)
	}
	if err := b.Follow(); !errors.Is(err, ErrNotShared) {
		t.Error(err)
	}
	if n := len(*b.words.Load()); n != 1 {
		t.Errorf("%d segments are mapped", n)
	}
	if _, err := Claim(o.path, testID); !errors.Is(err, ErrNotShared) {
		t.Errorf("claim: %v", err)
	}
}

// An owner does not believe what the head says of the room, which a borrower or
// another program may have damaged. A borrower refuses it.
func TestTable_RoomLies(t *testing.T) {
	for _, room := range []uint64{0, 1, 1 << 33, 1 << 63, 1<<64 - 1} {
		o, b := ownerAndBorrower(t)
		o.Publish(Published{TXID: 7})
		o.Put(3, []ltx.TXID{5})
		o.guard(func(h *head) { h.room.Store(room) })
		if err := b.Follow(); room > maxRoom && !errors.Is(err, ErrNotShared) {
			t.Errorf("room for %d words: the borrower follows, %v", room, err)
		}
		o.Renew(4096)
		if v, _ := o.Word(3); v != 0 {
			t.Errorf("room for %d words: page 3 is there in version %d", room, v)
		}
		if err := o.Room(growth + 1); err != nil {
			t.Errorf("room for %d words: %v", room, err)
		}
		o.Put(growth+1, []ltx.TXID{9})
		if err := b.Follow(); err != nil {
			t.Errorf("room for %d words: %v", room, err)
		}
		if v, _ := b.Word(growth + 1); v != 9 {
			t.Errorf("room for %d words: page %d has version %d", room, growth+1, v)
		}
	}
}

// A process that has claimed a table runs, although the owner before ended long
// ago.
func TestTable_Claim(t *testing.T) {
	o, b := ownerAndBorrower(t)
	o.write(func(h *head) { h.beat.Store(uint64(Now() - int64(time.Hour))) })
	next, err := Claim(o.path, testID)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if s, ok := b.Status(); !ok || Now()-s.Beat > int64(time.Minute) {
		t.Errorf("%+v", s)
	}
}

func BenchmarkRead(b *testing.B) {
	o, err := Create(filepath.Join(b.TempDir(), "pages"+Suffix), testID, 512, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	if err := o.Room(10); err != nil {
		b.Fatal(err)
	}
	o.Put(3, []ltx.TXID{5})
	s, _ := o.Status()
	b.ReportAllocs()
	for b.Loop() {
		if !read(o, s.Generation, 3, func() {}) {
			b.Fatal("not there")
		}
	}
}

// An owner that says it runs is seen to run, and the time of a poll counts for the
// transaction that it has found only.
func TestTable_BeatAndPolled(t *testing.T) {
	o, b := ownerAndBorrower(t)
	status := func() Status {
		t.Helper()
		s, ok := b.Status()
		if !ok {
			t.Fatal("no status")
		}
		return s
	}
	o.Publish(Published{TXID: 7})
	o.guard(func(h *head) { h.beat.Store(1) })
	if o.Beat(); status().Beat <= 1 {
		t.Errorf("the owner last ran at %d", status().Beat)
	}
	o.Polled(7, 5)
	o.Polled(6, 9)
	if s := status(); s.Polled != 5 {
		t.Errorf("it was polled at %d, want 5", s.Polled)
	}
}
