package litestream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// model is a random history of a database as a plain map sees it, and the
// LTX files that a primary might have of it.
type model struct {
	rng    *rand.Rand
	large  bool
	most   uint32                 // pages that the database ever had
	states []modelState           // by TXID; states[0] is empty
	files  map[fileKey]*modelFile // that are there
	made   map[fileKey]*modelFile // that ever were: one name, one content
}

// modelState is the database after a transaction: the transaction that last wrote each page.
type modelState struct {
	commit    uint32
	pages     []ltx.TXID // by page number from 1; of commit+1 elements
	timestamp int64
}

type modelFile struct {
	info  *ltx.FileInfo
	file  *ltxFile
	index ltxio.Index
	at    []ltxio.Entry // by page number
}

const modelPageSize = 512

func newModel(seed uint64) *model {
	rng := rand.New(rand.NewPCG(seed, 42))
	return &model{
		rng:    rng,
		large:  rng.IntN(12) == 0,
		states: []modelState{{pages: make([]ltx.TXID, 1), timestamp: 1_700_000_000_000}},
		files:  make(map[fileKey]*modelFile),
		made:   make(map[fileKey]*modelFile),
	}
}

func (m *model) txid() ltx.TXID { return ltx.TXID(len(m.states) - 1) }

// commit runs a random transaction: pages change, the database grows or shrinks.
func (m *model) commit() {
	prev := m.states[len(m.states)-1]
	next := modelState{
		commit:    prev.commit,
		timestamp: prev.timestamp + m.rng.Int64N(3)*500, // often in the same millisecond
	}
	txid := m.txid() + 1
	limit := 40
	if m.large {
		limit = 700 // several chunks
	}
	switch r := m.rng.IntN(10); {
	case prev.commit == 0 || r < 4:
		next.commit += 1 + uint32(m.rng.IntN(limit))
	case r < 6:
		next.commit = 1 + uint32(m.rng.IntN(int(prev.commit)))
	}
	next.pages = make([]ltx.TXID, next.commit+1)
	copy(next.pages, prev.pages)
	for pgno := prev.commit + 1; pgno <= next.commit; pgno++ {
		next.pages[pgno] = txid
	}
	m.most = max(m.most, next.commit)
	for range m.rng.IntN(12) {
		next.pages[1+uint32(m.rng.IntN(int(next.commit)))] = txid
	}
	m.states = append(m.states, next)
}

// store writes the file of a level for transactions first to last.
func (m *model) store(level int, first, last ltx.TXID) *modelFile {
	if f := m.made[fileKey{level, first, last}]; f != nil {
		m.files[f.file.key()] = f
		return f
	}
	s := m.states[last]
	var pgnos []uint32
	for pgno := uint32(1); pgno <= s.commit; pgno++ {
		if s.pages[pgno] >= first {
			pgnos = append(pgnos, pgno)
		}
	}
	f := &modelFile{at: make([]ltxio.Entry, s.commit+1)}
	tail := make([]byte, ltx.PageHeaderSize)
	end := int64(ltx.HeaderSize)
	for _, pgno := range pgnos {
		e := ltxio.Entry{Pgno: pgno, Offset: end, Size: 20 + uint32(m.rng.IntN(400))}
		f.at[pgno] = e
		tail = binary.AppendUvarint(tail, uint64(pgno))
		tail = binary.AppendUvarint(tail, uint64(e.Offset))
		tail = binary.AppendUvarint(tail, uint64(e.Size))
		end += int64(e.Size)
	}
	tail = append(tail, 0)
	tail = binary.BigEndian.AppendUint64(tail, uint64(len(tail)-ltx.PageHeaderSize))
	trailer, _ := (&ltx.Trailer{FileChecksum: ltx.ChecksumFlag}).MarshalBinary()
	tail = append(tail, trailer...)
	hdr := ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: modelPageSize, Commit: s.commit,
		MinTXID: first, MaxTXID: last, Timestamp: s.timestamp,
	}
	if level == SnapshotLevel {
		hdr.Timestamp += m.rng.Int64N(2000) // stamped when it is made
	}
	size := end + int64(len(tail))
	var err error
	if f.index, _, err = ltxio.ParseTail(tail, hdr, size); err != nil {
		panic(err)
	}
	f.info = &ltx.FileInfo{Level: level, MinTXID: first, MaxTXID: last, Size: size, CreatedAt: time.UnixMilli(hdr.Timestamp)}
	if m.rng.IntN(3) == 0 {
		f.info.CreatedAt = time.UnixMilli(1_700_000_000_000 + m.rng.Int64N(20000)) // a copy's
	}
	f.file = newLTXFile(f.info, hdr, f.index, int64(len(tail)))
	m.files[f.file.key()] = f
	m.made[f.file.key()] = f
	return f
}

// maintain compacts, snapshots and deletes at random.
func (m *model) maintain() {
	last := m.txid()
	switch m.rng.IntN(4) {
	case 0:
		m.store(SnapshotLevel, 1, 1+ltx.TXID(m.rng.Uint64N(uint64(last))))
	case 1:
		first := 1 + ltx.TXID(m.rng.Uint64N(uint64(last)))
		m.store(1+m.rng.IntN(SnapshotLevel-1), first, first+ltx.TXID(m.rng.Uint64N(uint64(last-first)+1)))
	case 2:
		if m.rng.IntN(3) == 0 {
			keys := m.keys()
			delete(m.files, keys[m.rng.IntN(len(keys))])
		}
	}
}

func (m *model) keys() []fileKey {
	return slices.SortedFunc(maps.Keys(m.files), func(a, b fileKey) int {
		return slices.Compare([]uint64{uint64(a.level), uint64(a.minTXID), uint64(a.maxTXID)}, []uint64{uint64(b.level), uint64(b.minTXID), uint64(b.maxTXID)})
	})
}

func (m *model) infos() []*ltx.FileInfo {
	var infos []*ltx.FileInfo
	for _, k := range m.keys() {
		infos = append(infos, m.files[k].info)
	}
	m.rng.Shuffle(len(infos), func(i, j int) { infos[i], infos[j] = infos[j], infos[i] })
	return infos
}

// reachable tells by brute force which states the files give from a transaction on.
func (m *model) reachable(from ltx.TXID) map[ltx.TXID]bool {
	reached := map[ltx.TXID]bool{from: true}
	for grown := true; grown; {
		grown = false
		for _, f := range m.files {
			for at := range reached {
				if f.info.MinTXID <= at+1 && f.info.MaxTXID > at && !reached[f.info.MaxTXID] {
					reached[f.info.MaxTXID] = true
					grown = true
				}
			}
		}
	}
	delete(reached, 0)
	return reached
}

func (m *model) apply(v *view, plan []*ltx.FileInfo) (*view, error) {
	for _, info := range plan {
		f := m.files[keyOf(info)]
		next, err := v.advance(f.file, f.index)
		if err != nil {
			return nil, err
		}
		v = next
	}
	return v, nil
}

// check compares a view with the model, and its page counts with its pages.
func (m *model) check(v *view) error {
	s := m.states[v.txid]
	if v.commit != s.commit || v.fileSize() != int64(s.commit)*modelPageSize {
		return fmt.Errorf("state %d has %d pages, want %d", v.txid, v.commit, s.commit)
	}
	counts := make(map[source]int)
	var last source
	n := 0
	for pgno := uint32(1); pgno <= m.most+1; pgno++ {
		loc, ok := v.lookup(pgno)
		if want := pgno <= s.commit; ok != want {
			return fmt.Errorf("state %d: page %d is there: %v, want %v", v.txid, pgno, ok, want)
		}
		if !ok {
			continue
		}
		written := s.pages[pgno]
		if loc.source != last {
			counts[last] += n
			last, n = loc.source, 0
		}
		n++
		f := m.made[loc.file.key()]
		if e := f.at[pgno]; e.Offset != loc.offset || e.Size != loc.size {
			return fmt.Errorf("state %d: page %d is at %d+%d of %s, which has it at %v", v.txid, pgno, loc.offset, loc.size, loc.file, e)
		}
		if got := m.states[loc.file.maxTXID].pages[pgno]; got != written {
			return fmt.Errorf("state %d: page %d in %s is of transaction %d, want %d", v.txid, pgno, loc.file, got, written)
		}
		if got := m.states[loc.version].pages[pgno]; loc.version > v.txid || got != written {
			return fmt.Errorf("state %d: page %d has version %d, whose content is of transaction %d, want %d", v.txid, pgno, loc.version, got, written)
		}
	}
	counts[last] += n
	delete(counts, source{})
	v.eachSource(func(s source, pages int) { counts[s] -= pages })
	for s, n := range counts {
		if n != 0 {
			return fmt.Errorf("state %d: source %s version %d is miscounted by %d", v.txid, s.file, s.version, n)
		}
	}
	return nil
}

// checkPlans compares what the planner says is available with brute force.
func (m *model) checkPlans(from *view) error {
	infos := m.infos()
	reached := m.reachable(from.txid)
	var newest, end ltx.TXID = from.txid, from.txid
	for _, info := range infos {
		end = max(end, info.MaxTXID)
	}
	for txid := range reached {
		newest = max(newest, txid)
	}
	plan, err := planLatest(from.txid, infos)
	switch {
	case newest == end && end > 0:
		if err != nil {
			return fmt.Errorf("latest from %d: %w", from.txid, err)
		}
		v, err := m.apply(from, plan)
		if err != nil {
			return err
		}
		if v.txid != newest {
			return fmt.Errorf("latest from %d is %d, want %d", from.txid, v.txid, newest)
		}
		if err := m.check(v); err != nil {
			return err
		}
	default:
		var missing *MissingError
		if !errors.As(err, &missing) && !(len(infos) == 0 && errors.Is(err, ErrNoDatabase)) {
			return fmt.Errorf("latest from %d, where files end at %d and reach %d: %v", from.txid, end, newest, err)
		}
		if missing != nil && missing.First != newest+1 {
			return fmt.Errorf("latest from %d: %v, but %d is the last there is", from.txid, err, newest)
		}
	}
	for txid := from.txid + 1; txid <= m.txid(); txid++ {
		plan, err := planTXID(from.txid, txid, infos)
		if (err == nil) != reached[txid] {
			return fmt.Errorf("state %d from %d: %v, want reachable %v", txid, from.txid, err, reached[txid])
		}
		if err != nil || m.rng.IntN(4) > 0 { // building every state takes too long
			continue
		}
		v, err := m.apply(from, plan)
		if err != nil {
			return err
		}
		if v.txid != txid {
			return fmt.Errorf("plan for %d ends at %d", txid, v.txid)
		}
		if err := m.check(v); err != nil {
			return err
		}
	}
	return nil
}

// checkTimes compares travel by time with brute force, and counts requests.
func (m *model) checkTimes() error {
	ps := points(m.infos())
	if len(ps) == 0 {
		return nil
	}
	reached := m.reachable(0)
	for _, p := range ps {
		if p.reachable != reached[p.txid] {
			return fmt.Errorf("point %d is reachable: %v, want %v", p.txid, p.reachable, reached[p.txid])
		}
	}
	for range 4 {
		at := m.states[1].timestamp - 600 + m.rng.Int64N(m.states[m.txid()].timestamp-m.states[1].timestamp+1200)
		header := func(_ context.Context, info *ltx.FileInfo) (int64, error) {
			return m.files[keyOf(info)].file.timestamp, nil
		}
		// The newest of the points that are not younger, by their own timestamps.
		var want *point
		for i := range ps {
			if ms, _ := header(context.Background(), ps[i].dated()); ms <= at {
				want = &ps[i]
			}
		}
		got, ms, err := findByTime(context.Background(), ps, at, header)
		switch {
		case want == nil || !want.reachable:
			if err == nil {
				return fmt.Errorf("time %d gives %d, want an error", at, got.txid)
			}
		case err != nil:
			// Fine only if what follows is missing.
			var missing *MissingError
			if !errors.As(err, &missing) || missing.First != want.txid+1 {
				return fmt.Errorf("time %d: %w, want %d", at, err, want.txid)
			}
		case got.txid != want.txid || ms > at:
			return fmt.Errorf("time %d gives %d (%d), want %d", at, got.txid, ms, want.txid)
		}
	}
	return nil
}

// runHistory plays one random history and returns what is wrong.
func runHistory(seed uint64) error {
	m := newModel(seed)
	m.commit()
	m.store(0, 1, 1)
	current, err := m.apply(new(view), []*ltx.FileInfo{m.files[fileKey{0, 1, 1}].info})
	if err != nil {
		return err
	}
	pinned := []*view{current}
	for range 3 + m.rng.IntN(14) {
		m.commit()
		m.store(0, m.txid(), m.txid())
		for range m.rng.IntN(3) {
			m.maintain()
		}
		switch m.rng.IntN(4) {
		case 0: // a poll
			plan, err := planLatest(current.txid, m.infos())
			if err != nil {
				continue
			}
			if current, err = m.apply(current, plan); err != nil {
				return err
			}
			pinned = append(pinned, current)
		case 1: // files get known that bring nothing new
			for _, k := range m.keys() {
				f := m.files[k]
				if k.maxTXID > current.txid || m.rng.IntN(3) > 0 {
					continue
				}
				next, n, err := current.relocate(f.file, f.index)
				if err != nil {
					return err
				}
				if n == 0 && next != current {
					return errors.New("a relocation of nothing makes a view")
				}
				if err := sameVersions(current, next); err != nil {
					return fmt.Errorf("relocate to %s: %w", f.file, err)
				}
				current = next
			}
			pinned = append(pinned, current)
		}
		if err := m.check(current); err != nil {
			return err
		}
	}
	// Views that somebody holds must be as they were.
	for _, v := range pinned {
		if err := m.check(v); err != nil {
			return fmt.Errorf("pinned: %w", err)
		}
	}
	if err := m.checkPlans(new(view)); err != nil {
		return err
	}
	if err := m.checkPlans(pinned[m.rng.IntN(len(pinned))]); err != nil {
		return err
	}
	return m.checkTimes()
}

// sameVersions tells whether two views name the same content.
func sameVersions(a, b *view) error {
	for pgno := uint32(1); pgno <= a.commit; pgno++ {
		x, ok := a.lookup(pgno)
		y, ok2 := b.lookup(pgno)
		if ok != ok2 || x.version != y.version {
			return fmt.Errorf("page %d changes from version %d to %d", pgno, x.version, y.version)
		}
	}
	return nil
}

// TestHistories_AgainstModel plays random histories of growth, shrink,
// compaction, retention, following and travel against a plain map.
func TestHistories_AgainstModel(t *testing.T) {
	const workers, each = 4, 2500
	for w := range uint64(workers) {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			for seed := w * each; seed < (w+1)*each; seed++ {
				if err := runHistory(seed); err != nil {
					t.Fatalf("history %d: %v", seed, err)
				}
			}
		})
	}
}
