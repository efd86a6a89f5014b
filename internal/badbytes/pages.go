package badbytes

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/ltxvfs/litestream/internal/btree"
)

// forgePage changes the bytes of a page that is accepted, which may be page 1.
func forgePage(rng *rand.Rand, r Replica, accept func(pgno uint32, page []byte) bool, how func(f *file, pgno uint32, page []byte) string) string {
	return forge(rng, r, func(f *file) string {
		var of []int
		for i, fr := range f.frames {
			if accept(fr.pgno, fr.page) {
				of = append(of, i)
			}
		}
		if len(of) == 0 {
			return ""
		}
		fr := &f.frames[of[rng.IntN(len(of))]]
		fr.page = bytes.Clone(fr.page)
		note := how(f, fr.pgno, fr.page)
		if note == "" {
			return ""
		}
		return fmt.Sprintf("page %d: %s", fr.pgno, note)
	})
}

func anyPage(uint32, []byte) bool { return true }

// head returns where the header of a b-tree page begins.
func head(pgno uint32) int {
	if pgno == 1 {
		return 100
	}
	return 0
}

// kind returns the kind of a page.
func kind(pgno uint32, page []byte) btree.Kind { return btree.Kind(page[head(pgno)]) }

func isTree(pgno uint32, page []byte) bool {
	switch kind(pgno, page) {
	case btree.InteriorIndex, btree.InteriorTable, btree.LeafIndex, btree.LeafTable:
		return true
	}
	return false
}

func isInterior(pgno uint32, page []byte) bool {
	k := kind(pgno, page)
	return k == btree.InteriorIndex || k == btree.InteriorTable
}

// cellStart returns where the array of cell pointers begins, and how many there are.
func cellStart(pgno uint32, page []byte) (at, cells int) {
	at = head(pgno)
	cells = int(binary.BigEndian.Uint16(page[at+3:]))
	at += 8
	if isInterior(pgno, page) {
		at += 4
	}
	return at, min(cells, (len(page)-at)/2)
}

// cell returns where a random cell of a page begins; 0: it has none.
func cell(rng *rand.Rand, pgno uint32, page []byte) int {
	at, cells := cellStart(pgno, page)
	if cells == 0 {
		return 0
	}
	offset := int(binary.BigEndian.Uint16(page[at+2*rng.IntN(cells):]))
	if offset < at || offset > len(page)-16 {
		return 0
	}
	return offset
}

// pageNumber returns a page number, mostly one of the database.
func pageNumber(rng *rand.Rand, f *file, self uint32) uint32 {
	switch rng.IntN(6) {
	case 0:
		return self
	case 1:
		return uint32(number(rng))
	case 2:
		return f.header.Commit + uint32(rng.IntN(3))
	}
	return 1 + uint32(rng.IntN(int(min(f.header.Commit, 100_000))))
}

// forgeDatabaseHeader changes a field of the header of the database.
func forgeDatabaseHeader(rng *rand.Rand, r Replica) string {
	isFirst := func(pgno uint32, _ []byte) bool { return pgno == 1 }
	return forgePage(rng, r, isFirst, func(_ *file, _ uint32, page []byte) string {
		fields := [...]struct{ at, size int }{{0, 1}, {16, 2}, {18, 1}, {19, 1}, {20, 1}, {21, 1}, {24, 4}, {28, 4}, {32, 4}, {36, 4}, {40, 4}, {44, 4}, {48, 4}, {52, 4}, {56, 4}, {64, 4}, {92, 4}, {96, 4}}
		field := fields[rng.IntN(len(fields))]
		n := number(rng)
		switch field.size {
		case 1:
			page[field.at] = byte(n)
		case 2:
			binary.BigEndian.PutUint16(page[field.at:], uint16(n))
		default:
			binary.BigEndian.PutUint32(page[field.at:], uint32(n))
		}
		return fmt.Sprintf("field at %d is %d", field.at, n)
	})
}

// forgeCells changes what a page says of its cells.
func forgeCells(rng *rand.Rand, r Replica) string {
	return forgePage(rng, r, isTree, func(_ *file, pgno uint32, page []byte) string {
		at, cells := cellStart(pgno, page)
		n := number(rng)
		switch what := rng.IntN(8); {
		case what == 0:
			binary.BigEndian.PutUint16(page[head(pgno)+3:], uint16(n))
			return fmt.Sprintf("%d cells", uint16(n))
		case what == 1:
			binary.BigEndian.PutUint16(page[head(pgno)+1:], uint16(n))
			return fmt.Sprintf("first free block at %d", uint16(n))
		case what == 2:
			binary.BigEndian.PutUint16(page[head(pgno)+5:], uint16(n))
			return fmt.Sprintf("content from %d on", uint16(n))
		case what == 3:
			kinds := [...]btree.Kind{btree.InteriorIndex, btree.InteriorTable, btree.LeafIndex, btree.LeafTable, 0, 1}
			page[head(pgno)] = byte(kinds[rng.IntN(len(kinds))])
			return fmt.Sprintf("kind %d", page[head(pgno)])
		case cells == 0:
			return ""
		case what == 4:
			i := rng.IntN(cells)
			binary.BigEndian.PutUint16(page[at+2*i:], uint16(n))
			return fmt.Sprintf("cell %d at %d", i, uint16(n))
		case what == 5:
			i, j := rng.IntN(cells), rng.IntN(cells)
			copy(page[at+2*i:at+2*i+2], page[at+2*j:])
			return fmt.Sprintf("cell %d is cell %d", i, j)
		}
		offset := cell(rng, pgno, page)
		if offset == 0 {
			return ""
		}
		varints := [...][]byte{{0}, {0x7f}, {0x81, 0}, {0xff, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x90, 0x80, 0x80, 0x80, 0}, {0x87, 0xff, 0xff, 0xff, 0x7f}}
		v := varints[rng.IntN(len(varints))]
		offset += rng.IntN(6)
		copy(page[offset:], v)
		return fmt.Sprintf("bytes %x in a cell at %d", v, offset)
	})
}

// forgeChildren makes an interior page lead elsewhere: in a circle, twice to the same
// page, to no page.
func forgeChildren(rng *rand.Rand, r Replica) string {
	return forgePage(rng, r, isInterior, func(f *file, pgno uint32, page []byte) string {
		child := pageNumber(rng, f, pgno)
		if rng.IntN(3) == 0 {
			binary.BigEndian.PutUint32(page[head(pgno)+8:], child)
			return fmt.Sprintf("its last child is page %d", child)
		}
		offset := cell(rng, pgno, page)
		if offset == 0 {
			return ""
		}
		binary.BigEndian.PutUint32(page[offset:], child)
		return fmt.Sprintf("a child is page %d", child)
	})
}

// forgeChains makes a chain of overflow pages lead elsewhere, or makes a page part of
// one.
func forgeChains(rng *rand.Rand, r Replica) string {
	isOther := func(pgno uint32, page []byte) bool { return pgno != 1 && !isTree(pgno, page) }
	return forgePage(rng, r, isOther, func(f *file, pgno uint32, page []byte) string {
		next := pageNumber(rng, f, pgno)
		binary.BigEndian.PutUint32(page, next)
		return fmt.Sprintf("its next page is %d", next)
	})
}

// forgeFreelist says that pages are free that are not, and the like.
func forgeFreelist(rng *rand.Rand, r Replica) string {
	isFirst := func(pgno uint32, _ []byte) bool { return pgno == 1 }
	return forgePage(rng, r, isFirst, func(f *file, pgno uint32, page []byte) string {
		trunk, count := pageNumber(rng, f, 1), uint32(number(rng))
		binary.BigEndian.PutUint32(page[32:], trunk)
		binary.BigEndian.PutUint32(page[36:], count)
		for i, fr := range f.frames {
			if fr.pgno == trunk && trunk != 1 && rng.IntN(2) == 0 {
				b := bytes.Clone(fr.page)
				binary.BigEndian.PutUint32(b, pageNumber(rng, f, trunk))
				binary.BigEndian.PutUint32(b[4:], uint32(number(rng)))
				binary.BigEndian.PutUint32(b[8:], pageNumber(rng, f, trunk))
				f.frames[i].page = b
			}
		}
		return fmt.Sprintf("%d free pages from page %d on", count, trunk)
	})
}

// forgeSchema changes the texts of the schema, and where tables begin.
func forgeSchema(rng *rand.Rand, r Replica) string {
	hasSchema := func(_ uint32, page []byte) bool { return bytes.Contains(page, []byte("CREATE ")) }
	return forgePage(rng, r, hasSchema, func(_ *file, _ uint32, page []byte) string {
		at := bytes.Index(page, []byte("CREATE "))
		if more := bytes.Count(page, []byte("CREATE ")); more > 1 {
			for range rng.IntN(more) {
				if next := bytes.Index(page[at+1:], []byte("CREATE ")); next >= 0 {
					at += 1 + next
				}
			}
		}
		switch rng.IntN(4) {
		case 0: // the number of the first page stands before the statement
			page[at-1-rng.IntN(2)] = byte(number(rng))
			return "a table begins elsewhere"
		case 1:
			words := [...]string{"CREATE VIEW ", "WITHOUT ROWID", "PRIMARY KEY  ", "/*", "GENERATED ALWAYS AS (a)", "((((((((((", "\x00", "' ", "USING fts5(", "REFERENCES t"}
			word := words[rng.IntN(len(words))]
			n := copy(page[min(at+rng.IntN(40), len(page)-1):], word)
			return fmt.Sprintf("%q in a statement", word[:n])
		case 2:
			at -= 1 + rng.IntN(30)
			if at < 0 {
				return ""
			}
			page[at] = byte(rng.Uint32())
			return fmt.Sprintf("byte %d of a record of the schema", at)
		}
		at += rng.IntN(60)
		if at >= len(page) {
			return ""
		}
		page[at] = byte(rng.Uint32())
		return fmt.Sprintf("byte %d of a statement", at)
	})
}

// forgePageBytes changes some bytes of any page.
func forgePageBytes(rng *rand.Rand, r Replica) string {
	return forgePage(rng, r, anyPage, func(_ *file, _ uint32, page []byte) string {
		n := 1 + rng.IntN(1<<rng.UintN(9))
		for range n {
			page[rng.IntN(len(page))] = byte(rng.Uint32())
		}
		return fmt.Sprintf("%d bytes", n)
	})
}

// forgePageSwap puts the bytes of another page in the place of a page.
func forgePageSwap(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		if len(f.frames) < 2 {
			return ""
		}
		i, j := rng.IntN(len(f.frames)), rng.IntN(len(f.frames))
		if i == j {
			return ""
		}
		f.frames[i].page = f.frames[j].page
		return fmt.Sprintf("page %d has the bytes of page %d", f.frames[i].pgno, f.frames[j].pgno)
	})
}

// forgeStructures changes records of a full-text index: its structure, its segments
// and the lists of their pages.
func forgeStructures(rng *rand.Rand, r Replica) string {
	isBlobs := func(pgno uint32, page []byte) bool { return kind(pgno, page) == btree.LeafTable && pgno != 1 }
	return forgePage(rng, r, isBlobs, func(_ *file, pgno uint32, page []byte) string {
		at, cells := cellStart(pgno, page)
		if cells == 0 {
			return ""
		}
		// The structure record has the smallest rowid but one, and begins with a
		// cookie.
		offset := int(binary.BigEndian.Uint16(page[at+2*min(rng.IntN(3), cells-1):]))
		n := 1 + rng.IntN(4)
		for range n {
			if i := offset + 3 + rng.IntN(24); i < len(page) {
				page[i] = byte(number(rng))
			}
		}
		return fmt.Sprintf("%d bytes of the first records", n)
	})
}
