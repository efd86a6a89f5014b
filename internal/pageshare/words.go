package pageshare

import (
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/superfly/ltx"
)

// word returns the word of a page, nil if it is not mapped. The caller is in
// guard.
func (t *Table) word(pgno uint32) *atomic.Uint64 {
	words := *t.words.Load()
	i := uint64(pgno) - 1
	if pgno == 0 || i/segmentLen >= uint64(len(words)) {
		return nil
	}
	return (*atomic.Uint64)(unsafe.Pointer(&words[i/segmentLen][i%segmentLen*8]))
}

// mapRoom maps the segments that the room needs. The caller is not in guard.
func (t *Table) mapRoom(room uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	words := slices.Clone(*t.words.Load())
	for uint64(len(words))*segmentLen < room {
		if t.closed.Load() {
			return errFault
		}
		m, err := mapFile(t.f, headSize+int64(len(words))*segmentSize, segmentSize, t.own)
		if err != nil {
			return fmt.Errorf("map %s: %w", t.path, err)
		}
		words = append(words, m)
	}
	t.words.Store(&words)
	return nil
}

// Room makes room for words of pages, which are absent. Only the owner calls it.
// If there is no room on the disk, the owner withdraws the table.
func (t *Table) Room(pages uint32) error {
	if t == nil || t.withdrawn.Load() {
		return nil
	}
	need, has := (uint64(pages)+growth-1)/growth*growth, t.room.Load()
	err := t.extend(has, need)
	if err == nil {
		err = t.mapRoom(max(has, need))
	}
	if err != nil {
		t.Withdraw()
		return fmt.Errorf("grow %s: %w", t.path, err)
	}
	t.room.Store(max(has, need))
	return t.write(func(h *head) { h.room.Store(max(has, need)) })
}

// extend makes the file longer. It writes zeros, because a store to mapped memory
// that has no place on the disk would fault when the disk is full.
func (t *Table) extend(has, need uint64) error {
	zeros := make([]byte, growth*8)
	for ; has < need; has += growth {
		if _, err := t.f.WriteAt(zeros, headSize+int64(has)*8); err != nil {
			return err
		}
	}
	return nil
}

// Follow maps the words that the owner has made room for. Only borrowers call
// it.
func (t *Table) Follow() error {
	room := uint64(0)
	if !t.guard(func(h *head) { room = h.room.Load() }) {
		return errFault
	}
	if err := t.hasRoom(room); err != nil {
		return err
	}
	return t.mapRoom(room)
}

// maxRoom is the room for the pages of the largest database.
const maxRoom = 1 << 32

// hasRoom returns an error if the file does not have an amount of words, or no
// database has so many pages.
func (t *Table) hasRoom(room uint64) error {
	if room > maxRoom {
		return fmt.Errorf("%w: its table says it has %d words", ErrNotShared, room)
	}
	info, err := t.f.Stat()
	if err == nil && room > uint64(max(0, info.Size()-headSize))/8 {
		err = fmt.Errorf("%w: its table has %d bytes, which are too few for %d words", ErrNotShared, info.Size(), room)
	}
	return err
}

// Renew makes every page absent, and begins a generation. Only the owner calls
// it.
func (t *Table) Renew(pageSize uint32) {
	_ = t.write(func(h *head) {
		h.state.CompareAndSwap(uint64(InUse), uint64(Beginning)) // first: see Anchors
		h.pageSize.Store(uint64(pageSize))
		h.generation.Add(1)
		left := int64(t.room.Load()) // the file ends there, which may be within the last segment
		for _, m := range *t.words.Load() {
			end := min(segmentLen, left)
			left -= end
			for i := range end {
				if w := (*atomic.Uint64)(unsafe.Pointer(&m[i*8])); w.Load() != 0 {
					w.Store(0)
				}
			}
		}
	})
	storeFence()
}

// Clear makes a page absent, before it is overwritten.
func (t *Table) Clear(pgno uint32) {
	_ = t.write(func(*head) {
		if w := t.word(pgno); w != nil {
			w.Store(0)
		}
	})
	storeFence()
}

// Put says that the file has pages of these versions, from first on.
func (t *Table) Put(first uint32, versions []ltx.TXID) {
	_ = t.write(func(*head) {
		storeFence()
		for i, version := range versions {
			if w := t.word(first + uint32(i)); w != nil {
				w.Store(uint64(version) &^ comparedBit)
			}
		}
	})
}

// Compared notes that a compared checksum covers a page that is present.
func (t *Table) Compared(pgno uint32) {
	_ = t.write(func(*head) {
		if w := t.word(pgno); w != nil {
			if v := w.Load(); v != 0 {
				w.CompareAndSwap(v, v|comparedBit)
			}
		}
	})
}

// Word returns the version of a page, 0 if it is absent, and whether a compared
// checksum covers it.
func (t *Table) Word(pgno uint32) (version ltx.TXID, compared bool) {
	word := uint64(0)
	ok := t.guard(func(*head) {
		if w := t.word(pgno); w != nil {
			word = w.Load()
		}
	})
	if !ok {
		return 0, false
	}
	return ltx.TXID(word &^ comparedBit), word&comparedBit != 0
}

// Read copies page pgno with fn, if it is there in a version that accept accepts
// and the table is of a generation. It reports false if the page may be another
// one, whatever fn has copied. Fn is given where the mark of the file is.
func (t *Table) Read(generation uint64, pgno uint32, accept func(version ltx.TXID) bool, fn func(markAt int64) error) bool {
	var before, now, markAt uint64
	ok := t.guard(func(h *head) {
		if w := t.word(pgno); w != nil {
			before = w.Load() &^ comparedBit
		}
		now, markAt = h.generation.Load(), h.markAt.Load()
	})
	if !ok || now != generation || before == 0 || !accept(ltx.TXID(before)) || fn(int64(markAt)) != nil {
		return false
	}
	loadFence() // the page was copied before the word is read again
	after := uint64(0)
	ok = t.guard(func(h *head) {
		if w := t.word(pgno); w != nil {
			after = w.Load() &^ comparedBit
		}
		now = h.generation.Load()
	})
	return ok && after == before && now == generation
}
