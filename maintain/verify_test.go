package maintain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
)

// Nothing is found in replicas that Litestream made, and every state of them can
// be restored.
func TestVerify_Intact(t *testing.T) {
	for _, dir := range replicas(t) {
		b := readBucket(t, dir)
		if len(b) == 0 {
			continue
		}
		r, err := maintain.Verify(t.Context(), b, maintain.VerifyOptions{})
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		want := len(b.reachable())
		if len(r.Findings) > 0 || r.Moments != want || r.Restorable != want || r.Files != len(b) || len(r.Lost) > 0 {
			t.Errorf("%s: report %+v, want no findings and %d moments", dir, r, want)
		}
		if r.Newest != readManifest(t, dir).TXID {
			t.Errorf("%s: newest transaction %s", dir, r.Newest)
		}
	}
}

// Each of the broken replicas has one finding, about the file that is broken.
func TestVerify_Broken(t *testing.T) {
	dirs, err := filepath.Glob("../testdata/replicas/broken/*")
	if err != nil || len(dirs) < 10 {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if name == "base" {
			continue
		}
		var m struct {
			Fault    struct{ File string }
			Affected []ltx.TXID `json:"affected_txids"`
			Intact   []ltx.TXID `json:"intact_txids"`
		}
		if err := json.Unmarshal(readFile(t, filepath.Join(dir, "manifest.json")), &m); err != nil {
			t.Fatal(err)
		}
		b := readBucket(t, "../testdata/replicas/broken/base") // of which the folder has the file that is broken
		maps.Copy(b, readBucket(t, dir))
		if name == "gap" {
			delete(b, view.Key{MinTXID: 8, MaxTXID: 8})
		}
		r, err := maintain.Verify(t.Context(), b, maintain.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Findings) != 1 {
			t.Errorf("%s: findings %v, want one", name, r.Findings)
			continue
		}
		f := r.Findings[0]
		isIt := f.Kind == maintain.Damaged && m.Fault.File == "ltx/"+f.File.String()
		if name == "gap" {
			gap, ok := errors.AsType[*errs.MissingError](f.Err)
			isIt = f.Kind == maintain.Missing && f.Range == maintain.Range{First: 8, Last: 8} && ok && *gap == errs.MissingError{First: 8, Last: 8}
			m.Affected = m.Affected[1:] // nothing says that transaction 8 was the end of a file
		}
		lost := []maintain.Range{{First: m.Affected[0], Last: m.Affected[len(m.Affected)-1]}}
		if !isIt || !slices.Equal(f.Lost, lost) || !slices.Equal(r.Lost, lost) || r.Restorable != len(m.Intact) {
			t.Errorf("%s: finding %v, lost %v, %d restorable, want %s to be wrong, %v lost and %d restorable",
				name, f, r.Lost, r.Restorable, m.Fault.File, lost, len(m.Intact))
		}
	}
}

// damage is a change of a replica that is no work of its writer or of retention.
type damage struct {
	name string
	b    bucket

	// excused means that a writer that was behind, or retention, would leave the
	// replica like this.
	excused bool
}

// damaged returns a copy of a bucket with a random damage.
func damaged(rng *rand.Rand, b bucket) damage {
	d := damage{b: maps.Clone(b)}
	keys := slices.SortedFunc(maps.Keys(b), view.Key.Compare)
	key := keys[rng.IntN(len(keys))]
	other := view.Key{Level: rng.IntN(view.Levels), MinTXID: key.MinTXID, MaxTXID: key.MaxTXID}
	if rng.IntN(2) == 0 {
		other.MinTXID = 1 + ltx.TXID(rng.IntN(int(key.MaxTXID)))
		other.MaxTXID = other.MinTXID + ltx.TXID(rng.IntN(8))
	}
	switch rng.IntN(6) {
	case 0:
		body := bytes.Clone(b[key])
		at, bit := rng.IntN(len(body)), byte(1)<<rng.IntN(8)
		body[at] ^= bit
		d.b[key] = body
		d.name = fmt.Sprintf("flip bit %#x at %d of %s", bit, at, key)
	case 1:
		size := rng.IntN(len(b[key]))
		d.b[key] = b[key][:size]
		d.name = fmt.Sprintf("cut %s to %d bytes", key, size)
	case 2:
		with := keys[rng.IntN(len(keys))]
		d.b[key], d.b[with] = b[with], b[key]
		d.name = fmt.Sprintf("swap %s and %s", key, with)
	case 3:
		delete(d.b, key)
		d.excused = !mustMiss(d.b, key)
		d.name = fmt.Sprintf("delete %s", key)
	case 4:
		delete(d.b, key)
		d.b[other] = b[key]
		d.excused = other.MinTXID == key.MinTXID && other.MaxTXID == key.MaxTXID && !mustMiss(d.b, key)
		d.name = fmt.Sprintf("rename %s to %s", key, other)
	default:
		d.b[other] = b[key]
		d.name = fmt.Sprintf("copy %s to %s", key, other)
	}
	return d
}

// mustMiss reports whether the files of a bucket show that a file is missing: no file
// begins with the whole database, or a file comes right after transactions that only
// snapshots hold and can be applied to no state. Before the oldest snapshot, and where
// the files after a gap go on from a snapshot, retention makes gaps.
func mustMiss(b bucket, gone view.Key) bool {
	var snapshot, newest ltx.TXID
	whole := false
	covered := map[ltx.TXID]bool{}
	for key := range b {
		newest = max(newest, key.MaxTXID)
		whole = whole || key.MinTXID == 1
		if key.Level == 9 {
			if snapshot == 0 || key.MaxTXID < snapshot {
				snapshot = key.MaxTXID
			}
			continue
		}
		for txid := key.MinTXID; txid <= key.MaxTXID; txid++ {
			covered[txid] = true
		}
	}
	if !whole && len(b) > 0 {
		return true
	}
	reachable := b.reachable()
	for txid := max(gone.MinTXID, snapshot+1); txid <= min(gone.MaxTXID, newest); txid++ {
		if covered[txid] {
			continue
		}
		end := txid // of the gap
		for end < newest && !covered[end+1] {
			end++
		}
		if !inSnapshot(b, end) {
			return true
		}
		for key := range b {
			applies := func(state ltx.TXID) bool { return state >= end && state < key.MaxTXID }
			if key.Level != 9 && key.MinTXID == end+1 && !slices.ContainsFunc(reachable, applies) {
				return true
			}
		}
	}
	return false
}

// inSnapshot reports whether a snapshot holds the transactions up to one.
func inSnapshot(b bucket, txid ltx.TXID) bool {
	for key := range b {
		if key.Level == 9 && key.MaxTXID >= txid {
			return true
		}
	}
	return false
}

// states returns the sums of all states that the files of a bucket give, and that
// can be made of them.
func (b bucket) states() map[ltx.TXID]string {
	states := map[ltx.TXID]string{}
	for _, txid := range b.reachable() {
		plan, err := view.PlanTXID(0, txid, b.infos())
		if err != nil {
			continue
		}
		made := stateOf{}
		key := ""
		for _, info := range plan {
			body := b[view.KeyOf(info)]
			made.bodies = append(made.bodies, body)
			key += fmt.Sprintf("%p,%d ", body, len(body))
		}
		known, ok := madeStates.Load(key)
		if !ok {
			image, err := b.image(txid)
			if err != nil {
				continue
			}
			made.sum = sum(image)
			known, _ = madeStates.LoadOrStore(key, made)
		}
		states[txid] = known.(stateOf).sum
	}
	return states
}

// stateOf is a state that was made of files. It keeps their bodies alive, so that
// their addresses tell them apart.
type stateOf struct {
	sum    string
	bodies [][]byte
}

// madeStates are the states that were made so far, by the addresses of the bodies.
// Damaged replicas share most bodies with intact ones.
var madeStates sync.Map

var damages = flag.Int("damages", 5000, "number of random damages")

// histories returns replicas that ours has compacted and pruned, with gaps in their
// levels.
func histories(t testing.TB) (all []bucket) {
	t.Helper()
	for seed := range uint64(4) {
		h := newHistory(t, rand.New(rand.NewPCG(seed, 18)))
		if seed%2 == 1 {
			opts := maintain.PruneOptions{Keep: maintain.Keep{Daily: 2, Last: 2}, Time: h.now}
			if _, err := maintain.Prune(t.Context(), h.client, opts); err != nil {
				t.Fatal(err)
			}
		}
		b := read(t, h.client)
		if r, err := maintain.Verify(t.Context(), b, maintain.VerifyOptions{}); err != nil || len(r.Findings) > 0 {
			t.Errorf("intact: %v, %v", r.Findings, err)
		}
		all = append(all, b)
	}
	return all
}

// Every random damage that changes what can be restored is found, unless retention
// would have the same effect.
func TestVerify_Damages(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var buckets []bucket
	var intact []map[ltx.TXID]string
	for _, dir := range replicas(t) {
		b := readBucket(t, dir)
		size := 0
		for _, body := range b {
			size += len(body)
		}
		if len(b) > 0 && size < 2<<20 {
			buckets, intact = append(buckets, b), append(intact, b.states())
		}
	}
	for _, b := range histories(t) {
		buckets, intact = append(buckets, b), append(intact, b.states())
	}
	if len(buckets) < 10 {
		t.Errorf("there are %d replicas", len(buckets))
	}
	found, harmless, excused := 0, 0, 0
	n := testscale.Repeats(*damages)
	if testscale.Race {
		n /= 5
	}
	for range n {
		i := rng.IntN(len(buckets))
		d := damaged(rng, buckets[i])
		r, err := maintain.Verify(t.Context(), d.b, maintain.VerifyOptions{})
		switch {
		case errors.Is(err, errs.ErrNoDatabase) && len(d.b) == 0:
			excused++ // the only file was deleted
		case err != nil:
			t.Fatalf("%s: %v", d.name, err)
		case len(r.Findings) > 0:
			found++
		case maps.Equal(d.b.states(), intact[i]):
			harmless++
		case d.excused:
			excused++
		default:
			t.Errorf("%s: nothing was found", d.name)
		}
	}
	t.Logf("%d found, %d harmless, %d as by retention", found, harmless, excused)
}

// Every flipped bit of a file is found that makes a page another one, in both
// formats of frames. With Quick, every flipped bit of what is read is.
func TestVerify_EveryBit(t *testing.T) {
	for _, name := range []string{"pagesize-512", "old-frames"} {
		b := readBucket(t, filepath.Join("../testdata/replicas", name))
		key := slices.MinFunc(slices.Collect(maps.Keys(b)), func(x, y view.Key) int { return len(b[x]) - len(b[y]) })
		txids := b.reachable()
		want := b.states()
		body := b[key]
		missed := 0
		step := 13
		if testing.Short() || testscale.Race {
			step = 101
		}
		for bit := 0; bit < 8*len(body); bit += step {
			flipped := bytes.Clone(body)
			flipped[bit/8] ^= 1 << (bit % 8)
			r, err := maintain.Verify(t.Context(), bucket{key: flipped}, maintain.VerifyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(r.Findings, func(f maintain.Finding) bool { return view.Key(f.File) == key }) {
				continue
			}
			missed++
			all := maps.Clone(b)
			all[key] = flipped
			if !maps.Equal(all.states(), want) {
				t.Errorf("%s: bit %d of %s was not found", name, bit, key)
			}
		}
		t.Logf("%s: %d of %d flips of %s leave all %d states as they are", name, missed, 8*len(body), key, len(txids))
	}
}

// With Quick, small files are verified as a whole, and of large ones only the ends are
// read. Large files come first, so that none of them is left alone at the end.
func TestVerify_Quick(t *testing.T) {
	b, _ := large(t)
	small := layered(t)
	l0 := key(0, 11, 11)
	small[l0] = flip(small[l0])
	r, err := maintain.Verify(t.Context(), small, maintain.VerifyOptions{Quick: true})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != maintain.Damaged || view.Key(r.Findings[0].File) != l0 {
		t.Errorf("a small file is damaged: %+v, error %v", r, err)
	}
	b[snapshot] = flip(b[snapshot])
	var mu sync.Mutex
	var order []view.Key // in which files are read
	faults := decorate.NewFault(b)
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Before: func(c decorate.Call) {
		mu.Lock()
		defer mu.Unlock()
		if k := key(c.Level, c.MinTXID, c.MaxTXID); !slices.Contains(order, k) {
			order = append(order, k)
		}
	}})
	r, err = maintain.Verify(t.Context(), faults, maintain.VerifyOptions{Quick: true, Requests: maintain.Requests{Concurrency: 1}})
	if err != nil || len(r.Findings) > 0 || r.Read > r.Bytes/10 {
		t.Errorf("a large file is damaged: %+v, error %v", r, err)
	}
	if want := []view.Key{snapshot, upTo8, only10, only9}; !slices.Equal(order, want) {
		t.Errorf("files are read in the order %v, want large ones first: %v", order, want)
	}
}

// States that are lost are ranges, with those between them that are not. A header that is
// damaged is found in large files as well.
func TestVerify_Lost(t *testing.T) {
	b := layered(t)
	for _, txid := range []ltx.TXID{6, 14} {
		b[key(0, txid, txid)] = flip(b[key(0, txid, txid)])
	}
	r, err := maintain.Verify(t.Context(), b, maintain.VerifyOptions{})
	if want := []maintain.Range{{First: 6, Last: 7}, {First: 14, Last: 16}}; err != nil || !slices.Equal(r.Lost, want) || r.Restorable != 11 {
		t.Errorf("%+v, error %v, want that %v are lost", r, err, want)
	}
	b, _ = large(t)
	b[snapshot] = bytes.Clone(b[snapshot])
	b[snapshot][0] ^= 1
	r, err = maintain.Verify(t.Context(), b, maintain.VerifyOptions{Quick: true})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != maintain.Damaged || r.Restorable != 0 {
		t.Errorf("%+v, error %v, want that the snapshot is damaged", r, err)
	}
}

// reencode returns a file with another header.
func reencode(t testing.TB, body []byte, change func(*ltx.Header)) []byte {
	t.Helper()
	dec := ltx.NewDecoder(bytes.NewReader(body))
	if err := dec.DecodeHeader(); err != nil {
		t.Fatal(err)
	}
	header := dec.Header()
	change(&header)
	var buf bytes.Buffer
	enc, err := ltx.NewEncoder(&buf)
	if err == nil {
		err = enc.EncodeHeader(header)
	}
	page, hdr := make([]byte, header.PageSize), ltx.PageHeader{}
	for err == nil && dec.DecodePage(&hdr, page) == nil {
		err = enc.EncodePage(ltx.PageHeader{Pgno: hdr.Pgno}, page)
	}
	if err == nil {
		err = enc.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Files that are intact by themselves, and contradict each other, are found.
func TestVerify_Contradictions(t *testing.T) {
	l0 := func(txid ltx.TXID) view.Key { return view.Key{MinTXID: txid, MaxTXID: txid} }
	for _, tt := range []struct {
		name   string
		change func(b bucket)
		want   maintain.Kind
		file   view.Key
	}{
		{"a later transaction is earlier", func(b bucket) {
			b[l0(9)] = reencode(t, b[l0(9)], func(h *ltx.Header) { h.Timestamp -= 3_600_000 })
		}, maintain.Disorder, l0(9)},
		{"two files of a transaction have other sizes", func(b bucket) {
			b[view.Key{Level: 1, MinTXID: 9, MaxTXID: 9}] = reencode(t, b[l0(9)], func(h *ltx.Header) { h.Commit++ })
		}, maintain.Conflict, view.Key{Level: 1, MinTXID: 9, MaxTXID: 9}},
		{"two files of a transaction have other times", func(b bucket) {
			b[view.Key{Level: 1, MinTXID: 9, MaxTXID: 9}] = reencode(t, b[l0(9)], func(h *ltx.Header) { h.Timestamp++ })
		}, maintain.Conflict, view.Key{Level: 1, MinTXID: 9, MaxTXID: 9}},
		{"a snapshot begins later", func(b bucket) {
			b[view.Key{Level: 9, MinTXID: 9, MaxTXID: 9}] = b[l0(9)]
		}, maintain.Misplaced, view.Key{Level: 9, MinTXID: 9, MaxTXID: 9}},
	} {
		b := readBucket(t, "../testdata/replicas/broken/base")
		tt.change(b)
		r, err := maintain.Verify(t.Context(), b, maintain.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Findings) != 1 || r.Findings[0].Kind != tt.want || view.Key(r.Findings[0].File) != tt.file {
			t.Errorf("%s: findings %v, want %s of %s", tt.name, r.Findings, tt.want, tt.file)
		}
	}
}

// rolled returns a replica of two transactions whose files have rolling checksums.
func rolled(t testing.TB) bucket {
	t.Helper()
	const pageSize = 512
	b := bucket{}
	pages := map[uint32][]byte{}
	for pgno := uint32(1); pgno <= 3; pgno++ {
		pages[pgno] = bytes.Repeat([]byte{byte(pgno)}, pageSize)
	}
	copy(pages[1], "SQLite format 3\x00\x02\x00\x01\x01")
	rolling := func() (sum ltx.Checksum) {
		for pgno, page := range pages {
			sum ^= ltx.ChecksumPage(pgno, page)
		}
		return sum | ltx.ChecksumFlag
	}
	var before ltx.Checksum
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		changed := []uint32{1, 2, 3}
		if txid > 1 {
			changed = []uint32{2}
			pages[2][0]++
		}
		var buf bytes.Buffer
		enc, err := ltx.NewEncoder(&buf)
		if err == nil {
			err = enc.EncodeHeader(ltx.Header{Version: ltx.Version, PageSize: pageSize, Commit: 3, MinTXID: txid, MaxTXID: txid, Timestamp: 1000 * int64(txid), PreApplyChecksum: before})
		}
		for _, pgno := range changed {
			if err == nil {
				err = enc.EncodePage(ltx.PageHeader{Pgno: pgno}, pages[pgno])
			}
		}
		before = rolling()
		enc.SetPostApplyChecksum(before)
		if err == nil {
			err = enc.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		b[view.Key{MinTXID: txid, MaxTXID: txid}] = buf.Bytes()
	}
	return b
}

// Rolling checksums are compared where files have them.
func TestVerify_RollingChecksums(t *testing.T) {
	b := rolled(t)
	if r, err := maintain.Verify(t.Context(), b, maintain.VerifyOptions{}); err != nil || len(r.Findings) > 0 {
		t.Fatalf("intact: %+v, %v", r, err)
	}
	second := view.Key{MinTXID: 2, MaxTXID: 2}
	dec := ltx.NewDecoder(bytes.NewReader(b[second]))
	if err := dec.DecodeHeader(); err != nil {
		t.Fatal(err)
	}
	header := dec.Header()
	header.PreApplyChecksum ^= 1
	var buf bytes.Buffer
	enc, _ := ltx.NewEncoder(&buf)
	page := make([]byte, header.PageSize)
	var hdr ltx.PageHeader
	if err := errors.Join(enc.EncodeHeader(header), dec.DecodePage(&hdr, page), enc.EncodePage(ltx.PageHeader{Pgno: hdr.Pgno}, page)); err != nil {
		t.Fatal(err)
	}
	enc.SetPostApplyChecksum(ltx.ChecksumFlag | 7)
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	b[second] = buf.Bytes()
	r, err := maintain.Verify(t.Context(), b, maintain.VerifyOptions{})
	if err != nil || len(r.Findings) != 2 || r.Findings[0].Kind != maintain.Conflict || r.Findings[1].Kind != maintain.Conflict {
		t.Errorf("findings %v, error %v, want the second file and the third one to contradict those before them", r.Findings, err)
	}
	if r.Moments != 3 || r.Restorable != 1 || r.Last != 1 || !slices.Equal(r.Lost, []maintain.Range{{First: 2, Last: 3}}) {
		t.Errorf("%+v, want that only the first transaction can be restored", r)
	}
}

// A store that does not answer is an error, and no finding; a file that it refuses
// is a finding.
func TestVerify_Storage(t *testing.T) {
	b := readBucket(t, "../testdata/replicas/broken/base")
	faults := decorate.NewFault(b)
	remove := faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpList), Err: fs.ErrPermission})
	if _, err := maintain.Verify(t.Context(), faults, maintain.VerifyOptions{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("no listing: error %v", err)
	}
	remove()
	faults.Add(decorate.Rule{Match: func(c decorate.Call) bool { return c.Op == decorate.OpRead && c.MinTXID == 8 }, Err: fs.ErrPermission})
	r, err := maintain.Verify(t.Context(), faults, maintain.VerifyOptions{})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != maintain.Unreadable || r.Findings[0].File.MinTXID != 8 {
		t.Errorf("one file: %+v, error %v", r, err)
	}
}

// A file that is not there once, as while it is replaced, is read again.
func TestVerify_GoneOnce(t *testing.T) {
	faults := decorate.NewFault(layered(t))
	faults.Add(decorate.Rule{Match: func(c decorate.Call) bool { return c.Op == decorate.OpRead && c.MinTXID == 8 }, Times: 1, Err: fs.ErrNotExist})
	if r, err := maintain.Verify(t.Context(), faults, maintain.VerifyOptions{}); err != nil || len(r.Findings) > 0 || faults.Faults() != 1 {
		t.Errorf("%+v, error %v", r, err)
	}
}

// Files that are deleted, replaced and added during a run are no findings.
func TestVerify_Compaction(t *testing.T) {
	b := readBucket(t, "../testdata/replicas/compacted")
	after := maps.Clone(b)
	var last view.Key
	for key := range b {
		if key.Level == 2 && key.MaxTXID > last.MaxTXID {
			last = key
		}
	}
	// The newest file of level 2 was merged into one of level 3.
	delete(after, last)
	last.Level = 3
	before := maps.Clone(b)
	after[last] = b[view.Key{Level: 2, MinTXID: last.MinTXID, MaxTXID: last.MaxTXID}]
	swap := decorate.NewFault(before)
	swap.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) {
		clear(before)
		maps.Copy(before, after)
	}})
	r, err := maintain.Verify(t.Context(), swap, maintain.VerifyOptions{Requests: maintain.Requests{Concurrency: 1}})
	if err != nil || len(r.Findings) > 0 || r.Files != len(after) {
		t.Errorf("report %+v, error %v", r, err)
	}
}
