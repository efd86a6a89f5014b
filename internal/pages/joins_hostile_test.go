package pages

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/fulltext"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
)

// tinyTable is a table whose root is page 3 and whose leaves are the next pages,
// with rowids up to 100, 200, and so on. All of them are known.
func tinyTable(t *testing.T, leaves int, more map[uint32][]byte) (*bed, treeWalk) {
	t.Helper()
	all := map[uint32][]byte{1: fakePage(1, 1), 2: fakePage(2, 1)}
	var cells [][]byte
	for i := range leaves {
		leaf := uint32(4 + i)
		all[leaf] = indexPage(13, 0)
		key := binary.BigEndian.AppendUint32(nil, leaf)
		cells = append(cells, append(key, byte((i+1)*100>>7)|0x80, byte((i+1)*100&0x7f)))
	}
	all[3] = indexPage(5, uint32(3+leaves), cells[:leaves-1]...)
	for pgno, page := range more {
		all[pgno] = page
	}
	client := newHookClient()
	putPages(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, uint32(len(all)), 1000, all)
	b := openBed(t, client, Options{})
	v := b.Current.Load()
	b.source.trees.usable.Store(bedPageSize)
	for pgno := range uint32(len(all)) {
		if _, err := b.source.Page(t.Context(), v, pgno+1); err != nil {
			t.Fatal(err)
		}
		b.source.trees.learn(pgno+1, all[pgno+1])
		b.source.trees.usable.Store(bedPageSize)
	}
	return b, treeWalk{pages: b.source, v: v}
}

// TestJoins_ListWithDuplicates has a list that leads to one leaf very often.
func TestJoins_ListWithDuplicates(t *testing.T) {
	_, w := tinyTable(t, 3, nil)
	values := make([]btree.Value, 1<<16)
	for i := range values {
		values[i] = btree.IntegerValue(50)
	}
	j := &joins{lists: func() [][]btree.Value { return [][]btree.Value{values} }}
	j.note(4)
	j.fold(w)
	a, ok := j.arrive(w, 5)
	if !ok {
		t.Fatal("the place of page 5 is not known")
	}
	start := time.Now()
	if n := j.learn(w, a, nil); n != nil {
		t.Error("a list that does not lead to page 5 explains it")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	values[len(values)-1] = btree.IntegerValue(150)
	j.trees[0].tries = 0
	if j.learn(w, a, nil) == nil {
		t.Error("a list that leads to page 5 does not explain it")
	}
}

// needy is a pattern that needs another page whenever it is asked.
type needy struct{ last uint32 }

func (p *needy) next(int) (pgnos, needs []uint32) {
	p.last++
	return nil, []uint32{1e6 + p.last}
}

// TestScan_NeedsAreBounded has nested loops that go through many leaves in one
// transaction.
func TestScan_NeedsAreBounded(t *testing.T) {
	b, w := tinyTable(t, 3, nil)
	p := NewPredictor(b.prefetcher)
	p.at(w.v)
	s := &scan{pattern: &needy{}, pace: &window{first: 64}, limit: 64}
	for range 3 * maxNeeds {
		p.extend(s, 0)
	}
	if len(s.needs) > maxNeeds || s.requested > len(s.needs) {
		t.Errorf("%d pages are remembered, %d as requested", len(s.needs), s.requested)
	}
}

// hostilePage makes a page of a b-tree of any kind, most of whose cells overlap.
// Its records have up to tens of thousands of columns, and its children are any
// of the first pages.
func hostilePage(r *rand.Rand, size, pages int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(1 + r.IntN(9)) // serial types of integers
	}
	if r.IntN(2) == 0 {
		zeros := p[size/8:]
		for i := range zeros {
			zeros[i] = byte(8 + r.IntN(2)) // integers without a size
		}
	}
	kind := []btree.Kind{btree.InteriorIndex, btree.InteriorTable, btree.LeafIndex, btree.LeafTable}[r.IntN(4)]
	clear(p[:12])
	p[0] = byte(kind)
	header := 8
	if kind.IsInterior() {
		header = 12
		binary.BigEndian.PutUint32(p[8:], uint32(1+r.IntN(pages)))
	}
	cells := 1 + r.IntN((size-64)/12)
	content := header + 2*cells
	binary.BigEndian.PutUint16(p[3:], uint16(cells))
	binary.BigEndian.PutUint16(p[5:], uint16(content))
	var offsets []int
	for range 1 + r.IntN(20) {
		off := content + r.IntN(size/16)
		offsets = append(offsets, off)
		c := p[off:off]
		if kind.IsInterior() {
			c = binary.BigEndian.AppendUint32(c, uint32(1+r.IntN(pages)))
		}
		if kind != btree.InteriorTable {
			c = append(c, 0x80|byte(size/4>>7), byte(size/4&0x7f))
		}
		if kind == btree.LeafTable || kind == btree.InteriorTable {
			c = append(c, byte(r.IntN(128)))
		}
		if kind != btree.InteriorTable {
			columns := 2 + r.IntN(size/5)
			_ = append(c, 0x80|byte(columns>>7), byte(columns&0x7f))
		}
	}
	for i := range cells {
		binary.BigEndian.PutUint16(p[header+2*i:], uint16(offsets[r.IntN(len(offsets))]))
	}
	return p
}

// TestPromise7_HostileJoins follows nested loops over pages that are made to cost
// time and memory.
func TestPromise7_HostileJoins(t *testing.T) {
	const pages = 60
	for _, size := range []int{512, 4096, 32768} {
		learned := 0
		var slowest time.Duration
		for seed := range uint64(testscale.Repeats(6)) {
			r := rand.New(rand.NewPCG(seed, uint64(size)))
			b, w := tinyTable(t, pages-3, nil)
			b.source.trees.usable.Store(int64(size))
			for pgno := range uint32(pages) {
				loc, _ := w.v.Lookup(pgno + 1)
				page := hostilePage(r, size, pages)
				b.source.cache.Load().add(Key{loc.Version, pgno + 1, w.v.Epoch}, page)
				b.source.trees.learn(pgno+1, page)
				b.source.trees.usable.Store(int64(size))
			}
			var nests []*nest
			j := &joins{}
			for range 30 {
				for range 1 + r.IntN(8) {
					j.note(uint32(1 + r.IntN(pages)))
				}
				start := time.Now()
				j.fold(w)
				if a, ok := j.arrive(w, uint32(1+r.IntN(pages))); ok {
					n := j.resume(w, a, nests)
					if n == nil {
						n = j.learn(w, a, nests)
					}
					if n != nil {
						learned++
						nests = append(nests, n)
						nests = nests[max(0, len(nests)-maxScans):]
					}
				}
				slowest = max(slowest, time.Since(start))
				for _, n := range nests {
					start := time.Now()
					pgnos, needs := n.next(maxRowPages)
					slowest = max(slowest, time.Since(start))
					if len(pgnos) > maxSteps || len(needs) > maxBlocked+2*maxRows {
						t.Fatalf("%d pages predicted, %d needed", len(pgnos), len(needs))
					}
					for _, pgno := range pgnos {
						n.read(&scan{pace: new(window)}, pgno)
					}
					n.grow()
					if len(n.trail) > 4*maxRows || len(n.blocked) > maxBlocked || len(n.leaves) > pages {
						t.Fatalf("%d rows, %d lookups and %d leaves are remembered", len(n.trail), len(n.blocked), len(n.leaves))
					}
				}
			}
		}
		t.Logf("pages of %d bytes: %d nested loops, %v at most for one step", size, learned, slowest)
		if slowest > 10*time.Second {
			t.Errorf("pages of %d bytes: a step took %v", size, slowest)
		}
	}
}

// TestPromise7_HostileFullText looks terms up in a full-text index whose pages are
// made to cost time and memory.
func TestPromise7_HostileFullText(t *testing.T) {
	const pages = 60
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		b, w := tinyTable(t, pages-3, nil)
		for pgno := range uint32(pages) {
			loc, _ := w.v.Lookup(pgno + 1)
			page := hostilePage(r, bedPageSize, pages)
			b.source.cache.Load().add(Key{loc.Version, pgno + 1, w.v.Epoch}, page)
			b.source.trees.learn(pgno+1, page)
			b.source.trees.usable.Store(bedPageSize)
		}
		x := &textIndex{leaves: 3, terms: uint32(1 + r.IntN(pages))}
		d := textDescent{w: w, x: x, steps: maxSteps}
		d.terms(3, 1, 2)
		for id := range int64(100) {
			s := fulltext.Segment{ID: id, First: 1, Last: 1 << 20}
			if leaves := d.leavesOf(s, termRange{}, maxTextLeaves); len(leaves) > maxTextLeaves {
				t.Fatalf("%d leaves of a segment", len(leaves))
			}
			d.leaf(s.LeafID(1))
		}
		if d.steps < -maxTreeDepth*pages || len(d.missing) > maxTextPages {
			t.Fatalf("%d steps beyond the bound, %d pages are needed", -d.steps, len(d.missing))
		}
		texts := textIndexes{of: map[uint32]*textIndex{x.leaves: x, x.terms: x}}
		for pgno := range uint32(pages) {
			if all := texts.lead(w, pgno+1); len(all) > 2*maxTextPages {
				t.Fatalf("one page leads to %d", len(all))
			}
		}
	}
}

// TestTextIndex_WrongGuesses predicts leaves that are never read.
func TestTextIndex_WrongGuesses(t *testing.T) {
	var texts textIndexes
	n := 0
	for leaf := uint32(1); texts.isTrusted(); leaf += 2 {
		n += len(texts.predict([]uint32{leaf, leaf + 1}))
		if leaf < 100 {
			texts.note(leaf)
		}
	}
	if most := maxTextVain + (1+textVainShare)*50 + 2; n > most {
		t.Errorf("%d leaves were predicted, want %d at most", n, most)
	}
	if texts.end(); !texts.isTrusted() {
		t.Error("the next transaction predicts nothing")
	}
}
