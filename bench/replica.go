package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/superfly/ltx"
)

// snapshotTXID is the last transaction of the snapshot.
const snapshotTXID = 1000

// replicaWriter writes LTX files like a primary.
type replicaWriter struct {
	client       *file.ReplicaClient
	pageSize     int
	frames       bool
	txid         ltx.TXID
	clock        time.Time
	snapshotInfo *ltx.FileInfo
}

func newReplicaWriter(dir string, pageSize int, frames bool) *replicaWriter {
	return &replicaWriter{
		client: file.NewReplicaClient(dir), pageSize: pageSize, frames: frames,
		txid: snapshotTXID, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func (w *replicaWriter) header(commit int, minTXID ltx.TXID) ltx.Header {
	return ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: uint32(w.pageSize), Commit: uint32(commit),
		MinTXID: minTXID, MaxTXID: w.txid, Timestamp: w.clock.UnixMilli(),
	}
}

// snapshot writes a snapshot of a database file.
func (w *replicaWriter) snapshot(ctx context.Context, path string) error {
	var body io.Reader
	if w.frames {
		image, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		hdr := w.header(len(image)/w.pageSize, 1)
		body = bytes.NewReader(ltxtest.EncodeLTX(hdr, w.changed(nil, image), true))
	} else {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		r, pw := io.Pipe()
		defer r.Close() // otherwise the encoder would wait for ever after an error
		go func() { pw.CloseWithError(w.encode(pw, f)) }()
		body = r
	}
	info, err := w.client.WriteLTXFile(ctx, ltxtest.SnapshotLevel, 1, w.txid, body)
	w.snapshotInfo = info
	return err
}

// encode streams a snapshot, because a database may be too large for memory.
func (w *replicaWriter) encode(dst io.Writer, f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(dst, 1<<20)
	enc, err := ltx.NewEncoder(buffered)
	if err != nil {
		return err
	}
	hdr := w.header(int(fi.Size())/w.pageSize, 1)
	if err := enc.EncodeHeader(hdr); err != nil {
		return err
	}
	in := bufio.NewReaderSize(f, 1<<20)
	page := make([]byte, w.pageSize)
	for pgno := uint32(1); pgno <= hdr.Commit; pgno++ {
		if _, err := io.ReadFull(in, page); err != nil {
			return err
		}
		if pgno == hdr.LockPgno() {
			continue
		}
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page); err != nil {
			return err
		}
	}
	if err := enc.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// addChanges writes a file of level 0 with the pages that differ from before,
// and returns the current content of the database.
func (w *replicaWriter) addChanges(ctx context.Context, path string, before []byte) ([]byte, error) {
	after, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	w.txid++
	w.clock = w.clock.Add(time.Second)
	hdr := w.header(len(after)/w.pageSize, w.txid)
	b := ltxtest.EncodeLTX(hdr, w.changed(before, after), w.frames)
	if _, err := w.client.WriteLTXFile(ctx, 0, w.txid, w.txid, bytes.NewReader(b)); err != nil {
		return nil, err
	}
	return after, nil
}

// changed returns the pages of after that differ from the pages of before.
func (w *replicaWriter) changed(before, after []byte) map[uint32][]byte {
	lock := ltx.LockPgno(uint32(w.pageSize))
	pages := make(map[uint32][]byte)
	for at, pgno := 0, uint32(1); at < len(after); at, pgno = at+w.pageSize, pgno+1 {
		page := after[at : at+w.pageSize]
		if pgno != lock && (at >= len(before) || !bytes.Equal(page, before[at:at+w.pageSize])) {
			pages[pgno] = page
		}
	}
	return pages
}

// readFrameSizes adds the frame sizes in the page index of an LTX file to
// sizes.
func readFrameSizes(path string, sizes map[uint32]int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	// The index ends with its size, which precedes the trailer.
	end := fi.Size() - ltx.TrailerSize - 8
	var length [8]byte
	if _, err := f.ReadAt(length[:], end); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint64(length[:]))
	if n > end {
		return fmt.Errorf("page index of %d bytes in a file of %d", n, fi.Size())
	}
	index, err := ltx.DecodePageIndex(bufio.NewReader(io.NewSectionReader(f, end-n, n+8)), 0, 0, 0)
	if err != nil {
		return err
	}
	for pgno, elem := range index {
		sizes[pgno] = elem.Size
	}
	return nil
}
