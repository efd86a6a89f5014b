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
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// model is a random history of a database as a plain map, with the LTX files
// that a primary might have made of it.
type model struct {
	rng    *rand.Rand
	large  bool
	most   uint32                  // largest number of pages that the database ever had
	states []modelState            // states by TXID; states[0] is empty
	files  map[view.Key]*modelFile // files that exist now
	made   map[view.Key]*modelFile // files that ever existed: one name has one content
	budget *view.Budget            // of the page indexes that are read as they are needed
}

// modelState is the database after a transaction. It holds for each page the
// transaction that last wrote it.
type modelState struct {
	commit    uint32
	pages     []ltx.TXID // indexed by page number from 1; has commit+1 elements
	timestamp int64
}

type modelFile struct {
	info  *ltx.FileInfo
	file  *view.File
	index ltxio.Index
	at    []ltxio.Entry // entries by page number
	tail  []byte        // from the end of the frames on
}

// read adds a random part of the page index to a file whose index is read as it
// is needed.
func (f *modelFile) read(rng *rand.Rand) error {
	d := f.file.Dense
	if d == nil {
		return nil
	}
	from := d.Start + rng.Int64N(d.End-d.Start)
	to := min(d.End, from+100+rng.Int64N(d.End-d.Start))
	w, err := d.Window(f.tail[max(from-100, d.Start)-d.FramesEnd:to-d.FramesEnd], max(from-100, d.Start))
	if err != nil {
		return fmt.Errorf("read bytes %d to %d of the page index of %s: %w", from, to, f.file, err)
	}
	return d.Add(w)
}

const modelPageSize = 512

func newModel(seed uint64) *model {
	rng := rand.New(rand.NewPCG(seed, 42))
	return &model{
		rng:    rng,
		large:  rng.IntN(12) == 0,
		states: []modelState{{pages: make([]ltx.TXID, 1), timestamp: 1_700_000_000_000}},
		files:  make(map[view.Key]*modelFile),
		made:   make(map[view.Key]*modelFile),
		budget: view.NewBudget(rng.Int64N(2) * (1 + rng.Int64N(8192))),
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
		limit = 700 // several chunks of the page table
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
	if f := m.made[view.Key{Level: level, MinTXID: first, MaxTXID: last}]; f != nil {
		m.files[f.file.Key()] = f
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
		hdr.Timestamp += m.rng.Int64N(2000) // the timestamp is that of its creation
	}
	size := end + int64(len(tail))
	var err error
	if f.index, _, err = ltxio.ParseTail(tail, hdr, size); err != nil {
		panic(err)
	}
	f.info = &ltx.FileInfo{Level: level, MinTXID: first, MaxTXID: last, Size: size, CreatedAt: time.UnixMilli(hdr.Timestamp)}
	if m.rng.IntN(3) == 0 {
		f.info.CreatedAt = time.UnixMilli(1_700_000_000_000 + m.rng.Int64N(20000)) // a copy has times of its own
	}
	f.file, f.tail = view.NewFile(f.info, hdr, f.index, int64(len(tail))), tail
	if first == 1 && m.rng.IntN(3) > 0 {
		d, _, err := ltxio.ParseDenseTail(tail, hdr, size)
		if err != nil {
			panic(err)
		}
		f.file, f.index = view.NewDenseFile(f.info, hdr, view.NewDense(d, m.budget)), ltxio.Index{}
	}
	m.files[f.file.Key()] = f
	m.made[f.file.Key()] = f
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
		if keys := m.keys(); len(keys) > 0 && m.rng.IntN(3) == 0 {
			delete(m.files, keys[m.rng.IntN(len(keys))])
		}
	}
}

func (m *model) keys() []view.Key {
	return slices.SortedFunc(maps.Keys(m.files), func(a, b view.Key) int {
		return slices.Compare([]uint64{uint64(a.Level), uint64(a.MinTXID), uint64(a.MaxTXID)}, []uint64{uint64(b.Level), uint64(b.MinTXID), uint64(b.MaxTXID)})
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

// reachable finds by brute force which states the files give from a transaction
// on.
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

func (m *model) apply(v *view.View, plan []*ltx.FileInfo) (*view.View, error) {
	for _, info := range plan {
		f := m.files[view.KeyOf(info)]
		next, err := v.Advance(f.file, f.index)
		if err != nil {
			return nil, err
		}
		v = next
	}
	return v, nil
}

// check compares a view with the model, and its page counts with its pages.
func (m *model) check(v *view.View) error {
	s := m.states[v.TXID]
	if v.Commit != s.commit || v.FileSize() != int64(s.commit)*modelPageSize {
		return fmt.Errorf("state %d has %d pages, want %d", v.TXID, v.Commit, s.commit)
	}
	counts := make(map[view.Source]int)
	var last view.Source
	n := 0
	for pgno := uint32(1); pgno <= m.most+1; pgno++ {
		loc, ok := v.Lookup(pgno)
		if want := pgno <= s.commit; ok != want {
			return fmt.Errorf("state %d: page %d is there: %v, want %v", v.TXID, pgno, ok, want)
		}
		if !ok {
			continue
		}
		written := s.pages[pgno]
		if loc.Source != last {
			counts[last] += n
			last, n = loc.Source, 0
		}
		n++
		f := m.made[loc.File.Key()]
		if loc.IsUnread() {
			if f.file.Dense == nil {
				return fmt.Errorf("state %d: page %d is unread in %s, whose page index was read", v.TXID, pgno, loc.File)
			}
		} else if e := f.at[pgno]; e.Offset != loc.Offset || e.Size != loc.Size {
			return fmt.Errorf("state %d: page %d is at %d+%d of %s, which has it at %v", v.TXID, pgno, loc.Offset, loc.Size, loc.File, e)
		}
		if got := m.states[loc.File.MaxTXID].pages[pgno]; got != written {
			return fmt.Errorf("state %d: page %d in %s is of transaction %d, want %d", v.TXID, pgno, loc.File, got, written)
		}
		if got := m.states[loc.Version].pages[pgno]; loc.Version > v.TXID || got != written {
			return fmt.Errorf("state %d: page %d has version %d, whose content is of transaction %d, want %d", v.TXID, pgno, loc.Version, got, written)
		}
	}
	counts[last] += n
	delete(counts, view.Source{})
	v.EachSource(func(s view.Source, pages int) { counts[s] -= pages })
	for s, n := range counts {
		if n != 0 {
			return fmt.Errorf("state %d: source %s version %d is miscounted by %d", v.TXID, s.File, s.Version, n)
		}
	}
	return nil
}

// checkPlans compares the states that the planner calls available with brute
// force.
func (m *model) checkPlans(from *view.View) error {
	infos := m.infos()
	reached := m.reachable(from.TXID)
	var newest, end ltx.TXID = from.TXID, from.TXID
	for _, info := range infos {
		end = max(end, info.MaxTXID)
	}
	for txid := range reached {
		newest = max(newest, txid)
	}
	plan, err := view.PlanLatest(from.TXID, infos)
	switch {
	case newest == end && end > 0:
		if err != nil {
			return fmt.Errorf("latest from %d: %w", from.TXID, err)
		}
		v, err := m.apply(from, plan)
		if err != nil {
			return err
		}
		if v.TXID != newest {
			return fmt.Errorf("latest from %d is %d, want %d", from.TXID, v.TXID, newest)
		}
		if err := m.check(v); err != nil {
			return err
		}
	default:
		var missing *MissingError
		if !errors.As(err, &missing) && !(len(infos) == 0 && errors.Is(err, ErrNoDatabase)) {
			return fmt.Errorf("latest from %d, where files end at %d and reach %d: %v", from.TXID, end, newest, err)
		}
		if missing != nil && missing.First != newest+1 {
			return fmt.Errorf("latest from %d: %v, but %d is the last there is", from.TXID, err, newest)
		}
	}
	for txid := from.TXID + 1; txid <= m.txid(); txid++ {
		plan, err := view.PlanTXID(from.TXID, txid, infos)
		if (err == nil) != reached[txid] {
			return fmt.Errorf("state %d from %d: %v, want reachable %v", txid, from.TXID, err, reached[txid])
		}
		if err != nil || m.rng.IntN(4) > 0 { // building every state takes too long
			continue
		}
		v, err := m.apply(from, plan)
		if err != nil {
			return err
		}
		if v.TXID != txid {
			return fmt.Errorf("plan for %d ends at %d", txid, v.TXID)
		}
		if err := m.check(v); err != nil {
			return err
		}
	}
	return nil
}

// checkTimes compares travel by time with brute force, and counts requests.
func (m *model) checkTimes() error {
	ps := view.Points(m.infos())
	if len(ps) == 0 {
		return nil
	}
	reached := m.reachable(0)
	for _, p := range ps {
		if p.Reachable != reached[p.TXID] {
			return fmt.Errorf("point %d is reachable: %v, want %v", p.TXID, p.Reachable, reached[p.TXID])
		}
	}
	for range 4 {
		at := m.states[1].timestamp - 600 + m.rng.Int64N(m.states[m.txid()].timestamp-m.states[1].timestamp+1200)
		header := func(_ context.Context, info *ltx.FileInfo) (int64, error) {
			return m.files[view.KeyOf(info)].file.Timestamp, nil
		}
		// The expected point is the newest that is not after the time, by the
		// files' own timestamps.
		var want *view.Point
		for i := range ps {
			if ms, _ := header(context.Background(), ps[i].Dated()); ms <= at {
				want = &ps[i]
			}
		}
		got, ms, err := view.FindByTime(context.Background(), ps, at, header)
		switch {
		case want == nil || !want.Reachable:
			if err == nil {
				return fmt.Errorf("time %d gives %d, want an error", at, got.TXID)
			}
		case err != nil:
			// The error is right only if the following file is missing.
			var missing *MissingError
			if !errors.As(err, &missing) || missing.First != want.TXID+1 {
				return fmt.Errorf("time %d: %w, want %d", at, err, want.TXID)
			}
		case got.TXID != want.TXID || ms > at:
			return fmt.Errorf("time %d gives %d (%d), want %d", at, got.TXID, ms, want.TXID)
		}
	}
	return nil
}

// runHistory plays one random history and returns what is wrong.
func runHistory(seed uint64) error {
	m := newModel(seed)
	m.commit()
	m.store(0, 1, 1)
	current, err := m.apply(new(view.View), []*ltx.FileInfo{m.files[view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}].info})
	if err != nil {
		return err
	}
	pinned := []*view.View{current}
	for range 3 + m.rng.IntN(14) {
		m.commit()
		m.store(0, m.txid(), m.txid())
		for range m.rng.IntN(3) {
			m.maintain()
		}
		for _, k := range m.keys() {
			if m.rng.IntN(4) == 0 {
				if err := m.files[k].read(m.rng); err != nil {
					return err
				}
			}
		}
		switch m.rng.IntN(4) {
		case 0: // a poll
			plan, err := view.PlanLatest(current.TXID, m.infos())
			if err != nil {
				continue
			}
			if current, err = m.apply(current, plan); err != nil {
				return err
			}
			pinned = append(pinned, current)
		case 1: // files become known that bring nothing new
			for _, k := range m.keys() {
				f := m.files[k]
				if k.MaxTXID > current.TXID || m.rng.IntN(3) > 0 {
					continue
				}
				next, n, err := current.Relocate(f.file, f.index)
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
	// Views that are still pinned must be unchanged.
	for _, v := range pinned {
		if err := m.check(v); err != nil {
			return fmt.Errorf("pinned: %w", err)
		}
	}
	if err := m.checkPlans(new(view.View)); err != nil {
		return err
	}
	if err := m.checkPlans(pinned[m.rng.IntN(len(pinned))]); err != nil {
		return err
	}
	return m.checkTimes()
}

// sameVersions returns an error if two views do not name the same content.
func sameVersions(a, b *view.View) error {
	for pgno := uint32(1); pgno <= a.Commit; pgno++ {
		x, ok := a.Lookup(pgno)
		y, ok2 := b.Lookup(pgno)
		if ok != ok2 || x.Version != y.Version {
			return fmt.Errorf("page %d changes from version %d to %d", pgno, x.Version, y.Version)
		}
	}
	return nil
}

// TestHistories_AgainstModel plays random histories of growth, shrinking,
// compaction, retention, following and travel, and compares them with a plain
// map.
func TestHistories_AgainstModel(t *testing.T) {
	const workers = 4
	each := uint64(testscale.Repeats(2500))
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
