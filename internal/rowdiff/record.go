package rowdiff

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/sqltokens"
)

// encoding is how a database stores texts. Its numbers are those of the header.
type encoding uint32

const (
	utf8Encoding    encoding = 1
	utf16LEEncoding encoding = 2
	utf16BEEncoding encoding = 3
)

// decode returns a text as SQLite returns it.
func (e encoding) decode(b []byte) string {
	if e == utf8Encoding {
		return string(b)
	}
	return string(e.utf8(b))
}

// utf8 returns the bytes of a text in UTF-8 as SQLite converts it, also those of half
// characters: it takes any two halves together, and the last one of a text for itself.
func (e encoding) utf8(b []byte) []byte {
	if e == utf8Encoding {
		return b
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if e == utf16BEEncoding {
		order = binary.BigEndian
	}
	out := make([]byte, 0, len(b))
	for len(b) >= 2 {
		c := uint32(order.Uint16(b))
		b = b[2:]
		if c >= 0xd800 && c < 0xe000 && len(b) >= 2 {
			c = 0x10000 + c&0x3ff<<10 + uint32(order.Uint16(b))&0x3ff
			b = b[2:]
		}
		switch {
		case c < 0x80:
			out = append(out, byte(c))
		case c < 0x800:
			out = append(out, 0xc0|byte(c>>6), 0x80|byte(c&0x3f))
		case c < 0x10000: // package utf8 replaces a half character here
			out = append(out, 0xe0|byte(c>>12), 0x80|byte(c>>6&0x3f), 0x80|byte(c&0x3f))
		default:
			out = append(out, 0xf0|byte(c>>18), 0x80|byte(c>>12&0x3f), 0x80|byte(c>>6&0x3f), 0x80|byte(c&0x3f))
		}
	}
	return out
}

// field is a column of a record as it is stored.
type field struct {
	serial uint64
	bytes  []byte
}

// class orders the kinds of values as SQLite does.
func (f field) class() int {
	switch {
	case f.serial == 0:
		return 0
	case f.serial < 10:
		return 1
	case f.serial%2 == 1:
		return 2 // text
	}
	return 3
}

// fields splits a record.
func fields(rec []byte) ([]field, error) {
	var all []field
	ok := btree.Columns(rec, func(serial uint64, value []byte) bool {
		all = append(all, field{serial, value})
		return true
	})
	if !ok {
		return nil, fmt.Errorf("%w: a record is damaged", errs.ErrCorrupt)
	}
	return all, nil
}

// value returns a value as nil, int64, float64, string or []byte.
func (f field) value(e encoding) any {
	if i, ok := btree.Integer(f.serial, f.bytes); ok {
		return i
	}
	switch {
	case f.serial == 7 && len(f.bytes) == 8:
		return math.Float64frombits(binary.BigEndian.Uint64(f.bytes))
	case f.serial < 12:
		return nil
	case f.serial%2 == 1:
		return e.decode(f.bytes)
	}
	return bytes.Clone(f.bytes)
}

// compare orders two values of a key. The collation must be one that isKnown.
func (f field) compare(g field, e encoding, collation string) int {
	if c := cmp.Compare(f.class(), g.class()); c != 0 {
		return c
	}
	switch f.class() {
	case 0:
		return 0
	case 1:
		return compareNumbers(f.value(e), g.value(e))
	case 3:
		return bytes.Compare(f.bytes, g.bytes)
	}
	switch collation {
	case "nocase":
		return compareNoCase(e.utf8(f.bytes), e.utf8(g.bytes))
	case "rtrim":
		return bytes.Compare(e.trimRight(f.bytes), e.trimRight(g.bytes))
	}
	return bytes.Compare(f.bytes, g.bytes)
}

// isKnown reports whether compare has a collation.
func isKnown(collation string) bool {
	return collation == "binary" || collation == "nocase" || collation == "rtrim"
}

// compareNoCase is the collation NOCASE. It compares the bytes of UTF-8 up to a NUL that
// both texts have, without the case of ASCII letters, and then the lengths.
func compareNoCase(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(sqltokens.Lower(a[i]), sqltokens.Lower(b[i])); c != 0 {
			return c
		}
		if a[i] == 0 {
			break
		}
	}
	return cmp.Compare(len(a), len(b))
}

// trimRight removes the spaces at the end of a text, for the collation RTRIM.
// SQLite compares the bytes of UTF-8 with it.
func (e encoding) trimRight(b []byte) []byte { return bytes.TrimRight(e.utf8(b), " ") }

func compareNumbers(a, b any) int {
	switch x := a.(type) {
	case int64:
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, y)
		}
		return -compareFloat(b.(float64), x)
	case float64:
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y)
		}
		return compareFloat(x, b.(int64))
	}
	return 0
}

// compareFloat compares a float with an integer, without loss.
func compareFloat(f float64, i int64) int {
	switch {
	case f < -(1 << 63):
		return -1
	case f >= 1<<63:
		return 1
	}
	whole := int64(f)
	if c := cmp.Compare(whole, i); c != 0 {
		return c
	}
	return cmp.Compare(f, float64(whole))
}

// row is a row of one state.
type row struct {
	rowid int64 // of a table that has rowids
	rec   []byte
	key   []field // of a table without rowids

	suspect bool // see reader.suspects
}

// values returns the values of the columns that rows have values of, in the order
// of the table's names.
func (t *table) values(r row, e encoding) ([]any, error) {
	all, err := fields(r.rec)
	if err != nil {
		return nil, err
	}
	byColumn := make([]any, len(t.columns))
	for i, n := range t.stored {
		c := t.columns[n]
		switch {
		case n == t.alias:
			byColumn[n] = r.rowid
		case i >= len(all):
			if byColumn[n], err = c.defaultOf(); err != nil {
				return nil, fmt.Errorf("table %s: %w", t.name, err)
			}
		default:
			v := all[i].value(e)
			if integer, ok := v.(int64); ok && c.affinity == realAffinity {
				v = float64(integer) // SQLite stores it so if that is shorter
			}
			byColumn[n] = v
		}
	}
	var out []any
	for n, c := range t.columns {
		if !c.virtual {
			out = append(out, byColumn[n])
		}
	}
	return out, nil
}

// compare orders two rows as their tree does.
func (t *table) compare(a, b row, e encoding) int {
	if t.key == nil {
		return cmp.Compare(a.rowid, b.rowid)
	}
	for i, k := range t.key {
		c := a.key[i].compare(b.key[i], e, k.collation)
		if k.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// setKey finds the key in the record of a table without rowids.
func (t *table) setKey(r *row) error {
	all, err := fields(r.rec)
	if err != nil {
		return err
	}
	if len(all) < len(t.key) {
		return fmt.Errorf("%w: a record of table %s has %d columns, and its key %d", errs.ErrCorrupt, t.name, len(all), len(t.key))
	}
	r.key = all[:len(t.key)]
	return nil
}
