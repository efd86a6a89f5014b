package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/superfly/ltx"
)

// treeDataset returns a replica of the table of pointsSource with about so many
// pages. It is encoded as it is made up, since neither SQLite nor a restored file
// has room for the largest one: the b-tree has its pages in the order of a walk,
// and each leaf has one row. There is no restored file.
func (e *env) treeDataset(ctx context.Context, pages int) (*dataset, error) {
	key := fmt.Sprintf("tree-%d", pages)
	if d, ok := e.datasets[key]; ok {
		return d, nil
	}
	src := pointsSource(pages)
	d := &dataset{source: src, pages: pages, replica: filepath.Join(e.root, key, "replica"), plain: filepath.Join(e.root, key, "none")}
	w := newReplicaWriter(d.replica, src.pageSize, false)
	first, err := schemaPage(ctx, filepath.Join(e.root, key+".db"), src)
	if err != nil {
		return nil, fmt.Errorf("make page 1 of %s: %w", src.name, err)
	}
	t := newTree(src.rows, src.pageSize)
	r, pw := io.Pipe()
	defer r.Close()
	go func() { pw.CloseWithError(t.encode(pw, w, first)) }()
	if d.snapshot, err = w.client.WriteLTXFile(ctx, ltxtest.SnapshotLevel, 1, w.txid, r); err != nil {
		return nil, fmt.Errorf("write snapshot: %w", err)
	}
	e.logf("  made %s: %d pages, snapshot of %.1f MB", d, t.count(), float64(d.snapshot.Size)/1e6)
	e.datasets[key] = d
	return d, nil
}

// schemaPage returns page 1 of a database with the schema of a source and without
// rows.
func schemaPage(ctx context.Context, path string, src *source) (page []byte, err error) {
	empty := *src
	empty.fill = func(context.Context, *sql.Tx, int, *rand.Rand) error { return nil }
	if err := makeBase(ctx, path, &empty); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) != 2*src.pageSize {
		return nil, fmt.Errorf("a schema of %d bytes", len(b))
	}
	return b[:src.pageSize], nil
}

// treeFanout is the number of children of an interior page. Their cells fit into a
// page of 512 bytes.
const treeFanout = 45

// tree is a b-tree of a table whose root is page 2. Its pages are counted without
// the lock page.
type tree struct {
	rows, pageSize int
	lock           int   // number of the lock page
	full           []int // pages of a full subtree, by its height
}

func newTree(rows, pageSize int) *tree {
	t := &tree{rows: rows, pageSize: pageSize, lock: int(ltx.LockPgno(uint32(pageSize))), full: []int{1}}
	for leaves := 1; leaves < rows; leaves *= treeFanout {
		t.full = append(t.full, 1+treeFanout*t.full[len(t.full)-1])
	}
	return t
}

// pgno returns the number of the n-th page.
func (t *tree) pgno(n int) uint32 {
	if n >= t.lock {
		n++
	}
	return uint32(n)
}

// count returns the number of pages of the database.
func (t *tree) count() int {
	n := 1
	for span := t.rows; ; span = (span + treeFanout - 1) / treeFanout {
		if n += span; span == 1 {
			return n
		}
	}
}

// encode writes the snapshot of the database.
func (t *tree) encode(dst io.Writer, w *replicaWriter, first []byte) error {
	buffered := bufio.NewWriterSize(dst, 1<<20)
	enc, err := ltx.NewEncoder(buffered)
	if err != nil {
		return err
	}
	commit := t.pgno(t.count())
	if err := enc.EncodeHeader(w.header(int(commit), 1)); err != nil {
		return err
	}
	page := bytes.Clone(first)
	binary.BigEndian.PutUint32(page[28:], commit)
	put := func(n int, page []byte) error { return enc.EncodePage(ltx.PageHeader{Pgno: t.pgno(n)}, page) }
	if err := put(1, page); err != nil {
		return err
	}
	if err := t.write(put, 2, len(t.full)-1, 1, t.rows); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// write writes the subtree of a height with the rows from first to last, of which
// the n-th page is the root.
func (t *tree) write(put func(n int, page []byte) error, n, height, first, last int) error {
	if height == 0 {
		return put(n, t.leaf(first))
	}
	span := 1 // rows of a full child
	for range height - 1 {
		span *= treeFanout
	}
	page := make([]byte, t.pageSize)
	page[0] = 5 // interior page of a table
	end, cells := t.pageSize, 0
	var below []func() error
	for i := 0; first+i*span <= last; i++ {
		child, from := n+1+i*t.full[height-1], first+i*span
		to := min(last, from+span-1)
		below = append(below, func() error { return t.write(put, child, height-1, from, to) })
		if to == last {
			binary.BigEndian.PutUint32(page[8:], t.pgno(child))
			break
		}
		cell := binary.BigEndian.AppendUint32(nil, t.pgno(child))
		cell = appendVarint(cell, to)
		end -= len(cell)
		copy(page[end:], cell)
		binary.BigEndian.PutUint16(page[12+2*cells:], uint16(end))
		cells++
	}
	binary.BigEndian.PutUint16(page[3:], uint16(cells))
	binary.BigEndian.PutUint16(page[5:], uint16(end))
	if err := put(n, page); err != nil {
		return err
	}
	for _, fn := range below {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

// leaf returns a leaf with one row, whose blob is compressed to different sizes.
func (t *tree) leaf(rowid int) []byte {
	const blob = 420
	page := make([]byte, t.pageSize)
	record := append([]byte{4, 0}, appendVarint(nil, 2*blob+12)...)
	payload := append(record, make([]byte, blob)...)
	rng := rand.New(rand.NewPCG(uint64(rowid), 1))
	for i := range rng.IntN(100) {
		payload[len(record)+i] = byte(rng.Uint32())
	}
	cell := appendVarint(nil, len(payload))
	cell = append(appendVarint(cell, rowid), payload...)
	end := t.pageSize - len(cell)
	copy(page[end:], cell)
	page[0] = 13 // leaf of a table
	binary.BigEndian.PutUint16(page[3:], 1)
	binary.BigEndian.PutUint16(page[5:], uint16(end))
	binary.BigEndian.PutUint16(page[8:], uint16(end))
	return page
}

// appendVarint appends a number as SQLite encodes it.
func appendVarint(b []byte, n int) []byte {
	size := 1
	for n>>(7*size) > 0 {
		size++
	}
	for size--; size > 0; size-- {
		b = append(b, byte(n>>(7*size))|0x80)
	}
	return append(b, byte(n&0x7f))
}
