package ltxtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// memStore stores files in memory.
type memStore map[fileName][]byte

type fileName struct {
	level            int
	minTXID, maxTXID ltx.TXID
}

func (s memStore) LTXFiles(_ context.Context, level int, seek ltx.TXID, _ bool) (ltx.FileIterator, error) {
	var a []*ltx.FileInfo
	for name, b := range s {
		if name.level == level && name.minTXID >= seek {
			a = append(a, &ltx.FileInfo{Level: level, MinTXID: name.minTXID, MaxTXID: name.maxTXID, Size: int64(len(b))})
		}
	}
	return ltx.NewFileInfoSliceIterator(a), nil
}

func (s memStore) WriteLTXFile(_ context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s[fileName{level, minTXID, maxTXID}] = b
	return &ltx.FileInfo{Level: level, MinTXID: minTXID, MaxTXID: maxTXID, Size: int64(len(b))}, nil
}

func (s memStore) DeleteLTXFiles(_ context.Context, a []*ltx.FileInfo) error {
	for _, info := range a {
		delete(s, fileName{info.Level, info.MinTXID, info.MaxTXID})
	}
	return nil
}

func (s memStore) names(level int) []fileName {
	var a []fileName
	for name := range s {
		if name.level == level {
			a = append(a, name)
		}
	}
	slices.SortFunc(a, func(x, y fileName) int { return int(x.minTXID) - int(y.minTXID) })
	return a
}

// ltxFile is a decoded LTX file.
type ltxFile struct {
	ltx.Header
	pages map[uint32][]byte
	flags uint16 // union of the flags of all page headers
	index map[uint32]ltx.PageIndexElem
}

// decode decodes and verifies an LTX file.
func decode(t testing.TB, b []byte) ltxFile {
	t.Helper()
	dec := ltx.NewDecoder(bytes.NewReader(b))
	if err := dec.DecodeHeader(); err != nil {
		t.Fatalf("decode header: %v", err)
	}
	f := ltxFile{Header: dec.Header(), pages: make(map[uint32][]byte)}
	for {
		var hdr ltx.PageHeader
		data := make([]byte, f.PageSize)
		if err := dec.DecodePage(&hdr, data); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("decode page: %v", err)
		}
		f.pages[hdr.Pgno] = data
		f.flags |= hdr.Flags
	}
	if err := dec.Close(); err != nil {
		t.Fatalf("verify file: %v", err)
	}
	f.index = dec.PageIndex()
	return f
}

// apply applies a file to a database image.
func (f ltxFile) apply(image []byte) []byte {
	size, pageSize := int(f.Commit)*int(f.PageSize), int(f.PageSize)
	next := make([]byte, size)
	copy(next, image)
	for pgno, data := range f.pages {
		copy(next[int(pgno-1)*pageSize:], data)
	}
	return next
}

func diffPage(a, b []byte, pageSize int) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d bytes, want %d", len(a), len(b))
	}
	for i := 0; i < len(a); i += pageSize {
		if !bytes.Equal(a[i:i+pageSize], b[i:i+pageSize]) {
			return fmt.Sprintf("page %d differs", i/pageSize+1)
		}
	}
	return ""
}

// workload runs transactions that grow, change, shrink and regrow a database.
func workload(p *Primary, rng *rand.Rand) {
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); CREATE INDEX t_v ON t (substr(v, 1, 4))")
	blob := func() []byte {
		b := make([]byte, rng.IntN(min(2*p.PageSize(), 20_000)))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for round := range 3 {
		for range 8 {
			switch rng.IntN(4) {
			case 0:
				p.Exec("UPDATE t SET v = ? WHERE id % 5 = ?", blob(), rng.IntN(5))
			case 1:
				p.Exec("DELETE FROM t WHERE id % 7 = ?", rng.IntN(7))
			default:
				p.Exec("INSERT INTO t (v) VALUES (?); INSERT INTO t (v) VALUES (?); INSERT INTO t (v) VALUES (zeroblob(?))",
					blob(), blob(), rng.IntN(p.PageSize()))
			}
		}
		p.Exec("DELETE FROM t WHERE id % 3 <> 0")
		p.Exec("PRAGMA incremental_vacuum(3)")
		if round == 1 {
			p.Exec("VACUUM")
		}
	}
}

func TestPrimary(t *testing.T) {
	tests := []Options{
		{PageSize: 4096, AutoVacuum: "incremental"},
		{PageSize: 4096, AutoVacuum: "full"},
		{PageSize: 4096, Rollback: true},
		{PageSize: 4096, Rollback: true, AutoVacuum: "full", FrameFormat: true},
	}
	for pageSize := 512; pageSize <= 65536; pageSize *= 2 {
		tests = append(tests,
			Options{PageSize: pageSize},
			Options{PageSize: pageSize, FrameFormat: true, AutoVacuum: "incremental"})
	}
	for _, opts := range tests {
		name := fmt.Sprintf("%d/frame=%v,vacuum=%s,rollback=%v", opts.PageSize, opts.FrameFormat, opts.AutoVacuum, opts.Rollback)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testPrimary(t, opts)
		})
	}
}

func testPrimary(t *testing.T, opts Options) {
	store := memStore{}
	p := New(t, store, opts)
	workload(p, rand.New(rand.NewPCG(1, uint64(opts.PageSize))))
	cur := p.TXID()

	// The files of level 0, applied one by one, must give each image and the
	// database file itself.
	var image []byte
	var shrinks int
	for txid := ltx.TXID(1); txid <= cur; txid++ {
		f := decode(t, store[fileName{0, txid, txid}])
		if f.MinTXID != txid || f.MaxTXID != txid || f.Timestamp != p.Time(txid).UnixMilli() || !f.NoChecksum() {
			t.Fatalf("txid %s: header %+v", txid, f.Header)
		}
		if got := f.flags == 0; got != opts.FrameFormat {
			t.Fatalf("txid %s: frame format %v, want %v", txid, got, opts.FrameFormat)
		}
		for pgno, data := range f.pages {
			if off := int(pgno-1) * p.pageSize; off < len(image) && bytes.Equal(data, image[off:off+p.pageSize]) {
				t.Fatalf("txid %s: page %d has not changed", txid, pgno)
			}
		}
		before := len(image)
		image = f.apply(image)
		if len(image) < before {
			shrinks++
		}
		if d := diffPage(image, p.Image(txid), p.pageSize); d != "" {
			t.Fatalf("txid %s: %s", txid, d)
		}
		want := byte(2)
		if opts.Rollback {
			want = 1
		}
		if image[18] != want || image[19] != want {
			t.Fatalf("txid %s: file format %v, want %d", txid, image[18:20], want)
		}
	}
	if shrinks == 0 {
		t.Fatal("workload did not shrink the database")
	}
	file, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	if d := diffPage(image, file, p.pageSize); d != "" {
		t.Fatalf("database file: %s", d)
	}
	checkIntegrity(t, image)

	testMerged(t, p, store)
}

// testMerged compares compacted files and snapshots with a merge of the files
// of level 0, which the test computes by itself.
func testMerged(t *testing.T, p *Primary, store memStore) {
	t.Helper()
	cur := p.TXID()
	const step = 5
	for lo := ltx.TXID(1); lo <= cur; lo += step {
		hi := min(lo+step-1, cur)
		p.Compact(1, lo, hi)
		f := decode(t, store[fileName{1, lo, hi}])
		if f.MinTXID != lo || f.MaxTXID != hi || f.Timestamp != p.Time(hi).UnixMilli() {
			t.Fatalf("compact %s-%s: header %+v", lo, hi, f.Header)
		}
		want := map[uint32][]byte{}
		for txid := lo; txid <= hi; txid++ {
			in := decode(t, store[fileName{0, txid, txid}])
			for pgno, data := range in.pages {
				want[pgno] = data
			}
			for pgno := range want {
				if pgno > in.Commit {
					delete(want, pgno)
				}
			}
		}
		if len(f.pages) != len(want) {
			t.Fatalf("compact %s-%s: %d pages, want %d", lo, hi, len(f.pages), len(want))
		}
		for pgno, data := range want {
			if !bytes.Equal(f.pages[pgno], data) {
				t.Fatalf("compact %s-%s: page %d differs", lo, hi, pgno)
			}
		}
		if d := diffPage(f.apply(p.Image(lo-1)), p.Image(hi), p.pageSize); d != "" {
			t.Fatalf("compact %s-%s: %s", lo, hi, d)
		}
	}

	p.Advance(time.Minute)
	if got := p.Snapshot(); got != cur {
		t.Fatalf("snapshot of %s, want %s", got, cur)
	}
	f := decode(t, store[fileName{SnapshotLevel, 1, cur}])
	if len(f.pages) != int(f.Commit) {
		t.Fatalf("snapshot has %d pages, want %d", len(f.pages), f.Commit)
	}
	if want := p.Time(cur).Add(time.Minute).UnixMilli(); f.Timestamp != want {
		t.Fatalf("snapshot: timestamp %d, want %d", f.Timestamp, want)
	}
	if d := diffPage(f.apply(nil), p.Image(cur), p.pageSize); d != "" {
		t.Fatalf("snapshot: %s", d)
	}
}

func checkIntegrity(t *testing.T, image []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sqlitetest.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var s string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&s); err != nil {
		t.Fatal(err)
	} else if s != "ok" {
		t.Fatalf("integrity check: %s", s)
	}
}

func TestExec_NoChange(t *testing.T) {
	store := memStore{}
	p := New(t, store, Options{})
	if got := p.TXID(); got != 0 || len(p.Image(0)) != 0 {
		t.Fatalf("before the first transaction: txid %s", got)
	}
	first := p.Exec("CREATE TABLE t (x)")
	if got := p.Exec("SELECT * FROM t"); got != first || len(store) != 1 {
		t.Fatalf("after a read: txid %s, %d files", got, len(store))
	}
	// The transaction without changes did not move the clock either.
	second := p.Exec("INSERT INTO t VALUES (1)")
	if got := p.Time(second).Sub(p.Time(first)); second != first+1 || got != time.Second {
		t.Fatalf("txid %s is %v later", second, got)
	}
}

func TestExec_IncrementalVacuum(t *testing.T) {
	p := New(t, memStore{}, Options{AutoVacuum: "incremental"})
	p.Exec("CREATE TABLE t (v); INSERT INTO t VALUES (zeroblob(400000)); DELETE FROM t")
	before := p.Image(p.TXID())
	after := p.Image(p.Exec("PRAGMA incremental_vacuum"))
	if len(after) >= len(before)/10 {
		t.Fatalf("%d bytes after, %d before", len(after), len(before))
	}
}

func TestClock(t *testing.T) {
	start := time.Date(2020, 2, 29, 23, 59, 59, 999_999_999, time.UTC)
	p := New(t, memStore{}, Options{Start: start, Step: -1})
	txid := p.Exec("CREATE TABLE t (x)")
	if got, want := p.Time(txid), start.Truncate(time.Millisecond); !got.Equal(want) {
		t.Fatalf("first at %v, want %v", got, want)
	}
	next := p.Exec("INSERT INTO t VALUES (1)")
	if !p.Time(next).Equal(p.Time(txid)) {
		t.Fatalf("clock moved to %v", p.Time(next))
	}
	p.Advance(time.Hour)
	if got := p.Time(p.Exec("INSERT INTO t VALUES (2)")).Sub(p.Time(txid)); got != time.Hour {
		t.Fatalf("clock advanced by %v", got)
	}
}

func TestDelete(t *testing.T) {
	store := memStore{}
	p := New(t, store, Options{})
	p.Exec("CREATE TABLE t (x)")
	for i := range 5 {
		p.Exec("INSERT INTO t VALUES (?)", i)
	}
	p.Compact(1, 1, 3)
	p.Delete(0, 5, 5)
	p.DeleteLevelBelow(0, 3)
	if got, want := fmt.Sprint(store.names(0)), fmt.Sprint([]fileName{{0, 3, 3}, {0, 4, 4}, {0, 6, 6}}); got != want {
		t.Fatalf("level 0 has %s, want %s", got, want)
	}
	if got := len(store.names(1)); got != 1 {
		t.Fatalf("level 1 has %d files, want 1", got)
	}
	p.Compact(2, 1, 6)
	if d := diffPage(decode(t, store[fileName{2, 1, 6}]).apply(nil), p.Image(6), p.pageSize); d != "" {
		t.Fatalf("compact of deleted files: %s", d)
	}
}

func TestPrimary_Deterministic(t *testing.T) {
	run := func() memStore {
		store := memStore{}
		p := New(t, store, Options{})
		workload(p, rand.New(rand.NewPCG(1, 2)))
		p.Compact(1, 2, 9)
		p.Snapshot()
		return store
	}
	a, b := run(), run()
	if len(a) != len(b) {
		t.Fatalf("%d and %d files", len(a), len(b))
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Fatalf("file %v differs", name)
		}
	}
}

func TestPrimary_ConcurrentReads(t *testing.T) {
	p := New(t, memStore{}, Options{})
	p.Exec("CREATE TABLE t (x)")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p.TXID() < 50 {
			txid := p.TXID()
			p.Time(txid)
			p.Image(txid)
			var n int
			if err := p.DB().QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil {
				t.Error(err)
			}
		}
	}()
	for p.TXID() < 50 {
		p.Exec("INSERT INTO t VALUES (zeroblob(100))")
	}
	<-done
}

// Each index entry must point to a frame that can be decoded on its own.
func TestEncodeLTX_Index(t *testing.T) {
	for _, frameFormat := range []bool{false, true} {
		for pageSize := uint32(512); pageSize <= 65536; pageSize *= 2 {
			pages := map[uint32][]byte{}
			rng := rand.New(rand.NewPCG(3, 4))
			for pgno := uint32(1); pgno <= 20; pgno++ {
				pages[pgno] = make([]byte, pageSize)
				if pgno%2 == 0 { // the other pages compress well
					for i := range pages[pgno] {
						pages[pgno][i] = byte(rng.Uint32())
					}
				}
			}
			hdr := ltx.Header{PageSize: pageSize, Commit: 20, MinTXID: 1, MaxTXID: 7, Timestamp: 123}
			b := EncodeLTX(hdr, pages, frameFormat)
			f := decode(t, b)
			if len(f.index) != len(pages) {
				t.Fatalf("index has %d pages, want %d", len(f.index), len(pages))
			}
			end := int64(ltx.HeaderSize)
			for pgno := uint32(1); pgno <= 20; pgno++ {
				e := f.index[pgno]
				if e.Offset != end {
					t.Fatalf("page %d at %d, want %d", pgno, e.Offset, end)
				}
				end += e.Size
				ph, data, err := ltx.DecodePageData(b[e.Offset:end])
				if err != nil {
					t.Fatal(err)
				}
				if ph.Pgno != pgno || !bytes.Equal(data, pages[pgno]) || (ph.Flags == 0) != frameFormat {
					t.Fatalf("page %d: frame has page %d, flags %x", pgno, ph.Pgno, ph.Flags)
				}
			}
		}
	}
}

func TestEncodeLTX_LockPage(t *testing.T) {
	const pageSize = 65536
	lockPgno := ltx.LockPgno(pageSize)
	page := make([]byte, pageSize)

	t.Run("Neighbours", func(t *testing.T) {
		pages := map[uint32][]byte{lockPgno - 1: page, lockPgno + 1: page}
		hdr := ltx.Header{PageSize: pageSize, Commit: lockPgno + 1, MinTXID: 2, MaxTXID: 2}
		for _, frameFormat := range []bool{false, true} {
			if got := len(decode(t, EncodeLTX(hdr, pages, frameFormat)).pages); got != 2 {
				t.Fatalf("%d pages, want 2", got)
			}
		}
	})
	t.Run("Snapshot", func(t *testing.T) {
		pages := map[uint32][]byte{}
		for pgno := uint32(1); pgno <= lockPgno+1; pgno++ {
			if pgno != lockPgno {
				pages[pgno] = page
			}
		}
		hdr := ltx.Header{Version: ltx.Version, PageSize: pageSize, Commit: lockPgno + 1, MinTXID: 1, MaxTXID: 2}
		// Encoding all of it would take a gigabyte.
		if err := checkPages(&hdr, slices.Sorted(maps.Keys(pages)), pages); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEncodeLTX_Invalid(t *testing.T) {
	page := make([]byte, 512)
	valid := ltx.Header{PageSize: 512, Commit: 3, MinTXID: 2, MaxTXID: 2}
	lockPgno := ltx.LockPgno(512)
	for _, tt := range []struct {
		name  string
		edit  func(*ltx.Header)
		pages map[uint32][]byte
	}{
		{"PageZero", nil, map[uint32][]byte{0: page}},
		{"BeyondCommit", nil, map[uint32][]byte{4: page}},
		{"ShortPage", nil, map[uint32][]byte{1: page[1:]}},
		{"LockPage", func(h *ltx.Header) { h.Commit = lockPgno }, map[uint32][]byte{lockPgno: page}},
		{"SparseSnapshot", func(h *ltx.Header) { h.MinTXID = 1 }, map[uint32][]byte{1: page, 3: page}},
		{"ZeroCommit", func(h *ltx.Header) { h.Commit = 0 }, nil},
		{"PageSize", func(h *ltx.Header) { h.PageSize = 1000 }, nil},
		{"NoTXID", func(h *ltx.Header) { h.MinTXID, h.MaxTXID = 0, 0 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hdr := valid
			if tt.edit != nil {
				tt.edit(&hdr)
			}
			for _, frameFormat := range []bool{false, true} {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("frame format %v: no panic", frameFormat)
						}
					}()
					EncodeLTX(hdr, tt.pages, frameFormat)
				}()
			}
		})
	}
}
