package litestream

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

var (
	forkSeeds = flag.Int("fork-histories", 0, "random histories with rollback and fork; 0: 800, or 100 with the race detector or -short")
	forkSeed  = flag.Int64("fork-seed", -1, "play this history only")
)

// forkPage is the content of a page: the number that its writer gave it. All
// contents compress to the same size, so that files of two histories can have
// the same layout.
type forkPage uint32

// forkState is a database after a transaction.
type forkState struct {
	pageSize  uint32
	pages     []forkPage // content of each page; page 1 is first
	changed   []uint32   // pages that the transaction changed
	timestamp int64
}

func (s *forkState) image(pgno uint32) []byte {
	page := make([]byte, s.pageSize)
	for i := 0; i < len(page); i += 4 {
		binary.BigEndian.PutUint32(page[i:], uint32(s.pages[pgno-1])|0xf0000000)
	}
	if pgno == 1 {
		copy(page, "SQLite format 3\x00")
		binary.BigEndian.PutUint16(page[16:], uint16(s.pageSize))
		page[18], page[19] = 1, 1
	}
	return page
}

// forkTape is a history: the states by TXID. The first one is empty. A fork
// shares the states before it.
type forkTape []*forkState

func (t forkTape) txid() ltx.TXID { return ltx.TXID(len(t) - 1) }

// forkWorld is a bucket, the writers that have used it, and a follower.
type forkWorld struct {
	t      *testing.T
	rng    *rand.Rand
	bucket *memory.ReplicaClient
	clock  int64
	number forkPage // the last content that was handed out

	tape   forkTape              // history that the bucket holds now
	tapes  []forkTape            // histories that the bucket ever held
	made   map[view.Key]ltx.TXID // files of the bucket, by the newest transaction
	copies []forkCopy
	calm   bool // the bucket is not rolled back, and the follower is awake
	plain  bool // the bucket reports no versions
	busy   bool // the bucket changes while polls are in flight

	db      *database
	opts    Options
	readers []*forkReader
}

// forkCopy is a copy of the bucket.
type forkCopy struct {
	tape  forkTape
	files map[view.Key][]byte
}

// forkReader is an open transaction with the states to which its pages may
// belong.
type forkReader struct {
	v     *view.View
	could []*forkState
}

func newForkWorld(t *testing.T, seed int64) *forkWorld {
	w := &forkWorld{
		t: t, rng: rand.New(rand.NewPCG(uint64(seed), 13)), bucket: memory.NewReplicaClient(),
		clock: 1_700_000_000_000, tape: forkTape{{}}, made: make(map[view.Key]ltx.TXID),
	}
	w.calm, w.plain = w.rng.IntN(5) == 0, w.rng.IntN(4) == 0
	w.busy = !w.calm && !w.plain && w.rng.IntN(2) == 0
	w.opts = Options{
		PollInterval: -1, CacheSize: []int64{-1, 8 << 10, 1 << 20}[w.rng.IntN(3)], ReadAheadSize: -1,
		HydrationEnabled: w.rng.IntN(3) == 0 && !w.plain, HydrationConcurrency: 1,
	}
	w.opts.neverWhole = seed%3 > 0
	if seed%3 > 1 {
		w.opts.IndexSize = 64 << 10
	}
	if w.opts.HydrationEnabled && w.rng.IntN(4) == 0 {
		w.opts.HydrationPath = filepath.Join(t.TempDir(), "copy")
	}
	return w
}

// commit runs a transaction and stores its file.
func (w *forkWorld) commit(pageSize uint32) {
	prev := w.tape[len(w.tape)-1]
	w.clock += int64(w.rng.IntN(3)) * 700
	next := &forkState{pageSize: pageSize, timestamp: w.clock}
	n := len(prev.pages)
	switch r := w.rng.IntN(6); {
	case n == 0 || prev.pageSize != pageSize:
		n = 1 + w.rng.IntN(12)
	case r == 0:
		n += w.rng.IntN(4)
	case r == 1:
		n = 1 + w.rng.IntN(n)
	}
	next.pages = make([]forkPage, n)
	if prev.pageSize == pageSize {
		copy(next.pages, prev.pages)
	}
	for i := range next.pages {
		if next.pages[i] == 0 || w.rng.IntN(4) == 0 || i == 0 && w.rng.IntN(2) == 0 {
			w.number++
			next.pages[i] = w.number
			next.changed = append(next.changed, uint32(i+1))
		}
	}
	if len(next.changed) == 0 {
		w.number++
		next.pages[0], next.changed = w.number, []uint32{1}
	}
	w.tape = append(slices.Clip(slices.Clone(w.tape)), next)
	w.tapes[len(w.tapes)-1] = w.tape
	w.put(0, w.tape.txid(), w.tape.txid())
}

// put stores the file of a level for some transactions of the tape. It does
// nothing if their pages have two sizes.
func (w *forkWorld) put(level int, first, last ltx.TXID) {
	s := w.tape[last]
	pages := make(map[uint32][]byte)
	for txid := first; txid <= last; txid++ {
		if w.tape[txid].pageSize != s.pageSize && level != SnapshotLevel {
			return
		}
		for _, pgno := range w.tape[txid].changed {
			if int(pgno) <= len(s.pages) && w.tape[txid].pageSize == s.pageSize {
				pages[pgno] = s.image(pgno)
			}
		}
	}
	at := s.timestamp
	if level == SnapshotLevel {
		at = w.clock + int64(w.rng.IntN(2000))
	}
	b := ltxtest.EncodeLTX(ltx.Header{
		PageSize: s.pageSize, Commit: uint32(len(s.pages)), MinTXID: first, MaxTXID: last, Timestamp: at,
	}, pages, false)
	w.write(view.Key{Level: level, MinTXID: first, MaxTXID: last}, b)
}

func (w *forkWorld) write(k view.Key, b []byte) {
	if _, err := w.bucket.WriteLTXFile(w.t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(b)); err != nil {
		w.t.Fatal(err)
	}
	w.made[k] = k.MaxTXID
}

func (w *forkWorld) remove(k view.Key) {
	if err := w.bucket.DeleteLTXFiles(w.t.Context(), []*ltx.FileInfo{{Level: k.Level, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID}}); err != nil {
		w.t.Fatal(err)
	}
	delete(w.made, k)
}

func (w *forkWorld) keys() []view.Key {
	return slices.SortedFunc(maps.Keys(w.made), func(a, b view.Key) int {
		return slices.Compare([]uint64{uint64(a.Level), uint64(a.MinTXID), uint64(a.MaxTXID)}, []uint64{uint64(b.Level), uint64(b.MinTXID), uint64(b.MaxTXID)})
	})
}

// last returns the newest transaction in a level.
func (w *forkWorld) last(level int) (last ltx.TXID) {
	for k := range w.made {
		if k.Level == level {
			last = max(last, k.MaxTXID)
		}
	}
	return last
}

// compact merges the files that a level lacks, as a primary does.
func (w *forkWorld) compact(level int) {
	first, last := w.last(level)+1, w.tape.txid()
	if level > 1 {
		last = w.last(level - 1)
	}
	if first <= last {
		w.put(level, first, last)
	}
}

// retain deletes files of level 0 that level 1 covers, and everything before
// the newest snapshot.
func (w *forkWorld) retain() {
	newest, snapshot := w.last(1), w.last(SnapshotLevel)
	some := w.rng.IntN(2) == 0 // all of them, without keeping the newest few
	for _, k := range w.keys() {
		switch {
		case k.Level == 0 && k.MaxTXID <= newest && (some || k.MaxTXID+ltx.TXID(w.rng.IntN(4)) <= newest):
			w.remove(k)
		case k.Level > 0 && k.MaxTXID < snapshot && w.rng.IntN(2) == 0:
			w.remove(k)
		}
	}
}

// snapshot stores a snapshot. The level does not reveal whether the pages of
// earlier transactions had the same size.
func (w *forkWorld) snapshot() {
	last := w.tape.txid()
	s := w.tape[last]
	pages := make(map[uint32][]byte)
	for pgno := uint32(1); pgno <= uint32(len(s.pages)); pgno++ {
		pages[pgno] = s.image(pgno)
	}
	b := ltxtest.EncodeLTX(ltx.Header{
		PageSize: s.pageSize, Commit: uint32(len(s.pages)), MinTXID: 1, MaxTXID: last, Timestamp: w.clock + int64(w.rng.IntN(2000)),
	}, pages, false)
	w.write(view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: last}, b)
}

func (w *forkWorld) read(k view.Key) []byte {
	r, err := w.bucket.OpenLTXFile(w.t.Context(), k.Level, k.MinTXID, k.MaxTXID, 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

// copyBucket keeps a copy for later.
func (w *forkWorld) copyBucket() {
	c := forkCopy{w.tape, make(map[view.Key][]byte)}
	for _, k := range w.keys() {
		c.files[k] = w.read(k)
	}
	w.copies = append(w.copies, c)
}

// moveBucket writes all files again, as a copy to another bucket does.
func (w *forkWorld) moveBucket() {
	for _, k := range w.keys() {
		b := w.read(k)
		if w.rng.IntN(4) == 0 {
			b = encodeOtherwise(w.t, b)
		}
		w.write(k, b)
	}
}

// encodeOtherwise encodes a file with frames of another kind.
func encodeOtherwise(t *testing.T, b []byte) []byte {
	hdr, _, err := ltx.PeekHeader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	f, err := ltxio.ParseFile(b, hdr.MinTXID, hdr.MaxTXID)
	if err != nil {
		t.Fatal(err)
	}
	pages := make(map[uint32][]byte)
	if err := f.Verify(func(pgno uint32, page []byte) { pages[pgno] = bytes.Clone(page) }); err != nil {
		t.Fatal(err)
	}
	return ltxtest.EncodeLTX(f.Header, pages, true)
}

// rollBack restores a copy, and lets another writer continue from there. The files
// of the copy are written again, or those that are the same stay.
func (w *forkWorld) rollBack() {
	if len(w.copies) == 0 {
		return
	}
	w.clock += 10_000 // it takes a while
	c := w.copies[len(w.copies)-1]
	if w.rng.IntN(3) == 0 {
		c = w.copies[w.rng.IntN(len(w.copies))]
	}
	stay := w.rng.IntN(2) == 0
	same := make(map[view.Key]bool)
	for _, k := range w.keys() {
		if b, ok := c.files[k]; ok && stay && bytes.Equal(b, w.read(k)) {
			same[k] = true
			continue
		}
		w.remove(k)
	}
	for k, b := range c.files {
		if !same[k] {
			w.write(k, b)
		}
	}
	w.tape = slices.Clip(c.tape)
	w.tapes = append(w.tapes, w.tape)
}

// unversioned is a bucket that reports no versions.
type unversioned struct{ *memory.ReplicaClient }

func (c unversioned) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return c.ReplicaClient.LTXFiles(clientio.WithVersionNoter(ctx, func(*ltx.FileInfo, string) {}), level, seek, useMetadata)
}

func (c unversioned) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return c.ReplicaClient.AllLTXFiles(clientio.WithVersionNoter(ctx, func(*ltx.FileInfo, string) {}), useMetadata)
}

// busyBucket is a bucket in which something happens after answers.
type busyBucket struct {
	*memory.ReplicaClient
	happen func() // called after a read or a listing of one level
}

func (c *busyBucket) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	defer c.happen()
	return c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
}

func (c *busyBucket) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	defer c.happen()
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// busyPoll looks for new transactions while the bucket changes once. Whatever the
// poll publishes is one state that a history had.
func (w *forkWorld) busyPoll() error {
	var once sync.Mutex // reads and listings of a poll are at the same time
	in := w.rng.IntN(3) // answers before the change
	client := &busyBucket{w.bucket, func() {
		once.Lock()
		defer once.Unlock()
		if in--; in != -1 {
			return
		}
		if w.rng.IntN(3) > 0 {
			w.rollBack()
		}
		for range w.rng.IntN(6) {
			w.commit(w.tape[len(w.tape)-1].pageSize)
		}
	}}
	inner := w.db.store.Client
	w.db.store.Client = client
	_ = w.db.poller.poll(false) // files may vanish under it
	w.db.store.Client = inner
	_, err := w.check(w.pin(w.db.Current.Load()), 1)
	return err
}

// open opens the follower.
func (w *forkWorld) open() {
	w.opts.Logger = slog.New(slog.DiscardHandler)
	client := ReplicaClient(w.bucket)
	if w.plain {
		client = unversioned{w.bucket}
	}
	db, err := openAlone(w.t.Context(), "app.db", client, w.opts.withDefaults(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
}

func (w *forkWorld) close() {
	if err := w.db.close(context.Background()); err != nil {
		w.t.Error(err)
	}
	w.readers = nil
}

// pin begins a transaction on a view.
func (w *forkWorld) pin(v *view.View) *forkReader {
	r := &forkReader{v: v}
	for _, tape := range w.tapes {
		if v.TXID <= tape.txid() && !slices.Contains(r.could, tape[v.TXID]) {
			r.could = append(r.could, tape[v.TXID])
		}
	}
	w.readers = append(w.readers, r)
	return r
}

// readPage reads a page as a connection does.
func (w *forkWorld) readPage(v *view.View, pgno uint32) ([]byte, error) {
	page := make([]byte, v.PageSize)
	if w.db.pages.ReadLocal(v, pgno, page) {
		return page, nil
	}
	return w.db.pages.Page(w.t.Context(), v, pgno)
}

// check reads pages of a transaction, which must all belong to one state. It
// reports whether all of them could be read.
func (w *forkWorld) check(r *forkReader, share int) (whole bool, err error) {
	whole = true
	r.could = slices.DeleteFunc(r.could, func(s *forkState) bool {
		return int(r.v.Commit) != len(s.pages) || r.v.PageSize != s.pageSize
	})
	for pgno := uint32(1); pgno <= r.v.Commit; pgno++ {
		if w.rng.IntN(share) > 0 {
			continue
		}
		page, err := w.readPage(r.v, pgno)
		if err != nil {
			if !errors.Is(err, errs.ErrStateGone) && !errors.Is(err, ErrNoDatabase) {
				return false, fmt.Errorf("page %d as of %s: %w", pgno, r.v.TXID, err)
			}
			whole = false
			continue
		}
		r.could = slices.DeleteFunc(r.could, func(s *forkState) bool { return !bytes.Equal(page, s.image(pgno)) })
		if len(r.could) == 0 {
			return false, fmt.Errorf("page %d as of %s, epoch %d, is of no state that its other pages are of", pgno, r.v.TXID, r.v.Epoch)
		}
	}
	return whole, nil
}

// poll looks for new transactions. A poll of all levels must find the newest
// state.
func (w *forkWorld) poll(full bool) error {
	before := w.db.Current.Load()
	err := w.db.poller.poll(full)
	if full && w.opts.HydrationEnabled {
		err = w.db.poller.poll(full) // the first may share a listing that hydration requested earlier
	}
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	cur := w.db.Current.Load()
	if full {
		r := &forkReader{v: cur, could: []*forkState{w.tape[min(cur.TXID, w.tape.txid())]}}
		whole, err := w.check(r, 1)
		if err == nil && !whole {
			err = errs.ErrStateGone
		}
		if err != nil || cur.TXID != w.tape.txid() {
			return fmt.Errorf("after a poll it is %s, epoch %d, and the bucket is at %s (before: %s, epoch %d): %w",
				cur.TXID, cur.Epoch, w.tape.txid(), before.TXID, before.Epoch, err)
		}
	}
	return nil
}

// travel begins a transaction at a past state of what the bucket holds now.
func (w *forkWorld) travel() error {
	target := 1 + ltx.TXID(w.rng.Uint64N(uint64(w.tape.txid())))
	v, err := w.db.travelTo(w.t.Context(), target)
	if errors.Is(err, ErrTxNotAvailable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("travel to %d: %w", target, err)
	}
	_, err = w.check(w.pin(v), 2)
	return err
}

// step performs one random action, of the bucket or of the follower.
func (w *forkWorld) step() error {
	switch r := w.rng.IntN(40); {
	case r < 12:
		w.commit(w.tape[len(w.tape)-1].pageSize)
	case r < 15:
		w.compact(1)
	case r == 15:
		w.compact(2)
	case r == 16:
		w.snapshot()
	case r < 20:
		w.retain()
	case r == 20:
		w.copyBucket()
	case r == 21:
		w.moveBucket()
	case r == 22 && !w.calm:
		if w.rng.IntN(4) == 0 {
			w.commit(512 + 1024 - w.tape[len(w.tape)-1].pageSize)
		}
	case r < 25 && !w.calm:
		w.rollBack()
		for range w.rng.IntN(10) {
			w.commit(w.tape[len(w.tape)-1].pageSize)
			if w.rng.IntN(6) == 0 {
				w.compact(1)
			}
		}
		if w.rng.IntN(2) == 0 {
			w.compact(1)
			w.retain()
		}
		if w.plain { // until a poll, nothing distinguishes two frames in the same place
			return w.poll(true)
		}
	case r < 31:
		if w.busy && !w.opts.HydrationEnabled && w.rng.IntN(2) == 0 { // hydration uses the client, too
			return w.busyPoll()
		}
		return w.poll(w.rng.IntN(2) == 0)
	case r < 34:
		_, err := w.check(w.pin(w.db.Current.Load()), 2)
		return err
	case r < 36:
		return w.travel()
	case r == 36 && w.rng.IntN(3) == 0:
		w.close()
		w.open()
	default:
		if len(w.readers) > 0 {
			_, err := w.check(w.readers[w.rng.IntN(len(w.readers))], 2)
			return err
		}
	}
	return nil
}

// playFork plays one history and returns the first violation that it finds.
func playFork(t *testing.T, seed int64) error {
	w := newForkWorld(t, seed)
	w.tapes = []forkTape{w.tape}
	for range 1 + w.rng.IntN(5) {
		w.commit(512)
	}
	w.copyBucket()
	w.open()
	defer func() { w.close() }()
	for i := range 60 {
		err := w.step()
		if err == nil && w.calm {
			err = w.poll(w.rng.IntN(10) == 0)
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	if err := w.poll(true); err != nil {
		return err
	}
	if v := w.db.Current.Load(); w.calm && v.Epoch != 0 {
		return fmt.Errorf("one history has %d epochs", v.Epoch+1)
	}
	for _, r := range w.readers {
		if _, err := w.check(r, 1); err != nil {
			return err
		}
	}
	return nil
}

// TestHistories_RollbackAndFork plays random histories of a bucket that is
// compacted, copied, rolled back and continued by other writers, under a
// follower with open transactions. Each transaction sees one state that some
// history had, and a poll of all levels finds the newest state of the present
// history.
func TestHistories_RollbackAndFork(t *testing.T) {
	first, end := int64(0), int64(cmp.Or(*forkSeeds, testscale.Repeats(800)))
	if *forkSeed >= 0 {
		first, end = *forkSeed, *forkSeed+1
	}
	const workers = 6
	for worker := range int64(workers) {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			for seed := first + worker; seed < end; seed += workers {
				if err := playFork(t, seed); err != nil {
					t.Fatalf("history %d (-fork-seed=%d): %v", seed, seed, err)
				}
			}
		})
	}
}
