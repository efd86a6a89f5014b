package write

import (
	"bytes"
	"fmt"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
)

// read fills p with a page as the segment's LTX file has it.
func (s *segment) read(pgno uint32, p []byte) error {
	if err := view.ReadCommitted(s.log, pgno, s.pages[pgno].offset, p); err != nil {
		return err
	}
	if pgno == 1 && s.log.Format != [2]byte{} {
		dbheader.SetFormat(p, s.log.Format)
	}
	return nil
}

// encoding is the metadata of a segment's LTX file, which is known once the file
// is encoded. The same segment always gives the same bytes.
type encoding struct {
	hdr     ltx.Header
	trailer ltx.Trailer
	index   ltxio.Index
	size    int64
	tail    int64     // number of bytes after the frames
	ends    [2][]byte // the first bytes of the file, and the bytes after the frames
}

// encode writes the LTX file of a segment, which gets no more commits.
func (e *encoding) encode(dst io.Writer, s *segment) error {
	e.hdr = ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: s.log.PageSize, Commit: s.commit,
		MinTXID: s.txid(), MaxTXID: s.txid(), Timestamp: s.newest,
		// A Litestream primary that continues from here looks for this position in
		// its WAL. It finds that its WAL is another one, and begins at the start.
		WALOffset: walHeaderSize,
	}
	tee := &teeWriter{w: dst}
	enc, err := ltx.NewEncoder(tee)
	if err == nil {
		err = enc.EncodeHeader(e.hdr)
	}
	if err != nil {
		return fmt.Errorf("encode %s: %w", s.txid(), err)
	}
	page := make([]byte, s.log.PageSize)
	put := func(pgno uint32) error {
		clear(page)
		if _, ok := s.pages[pgno]; ok {
			if err := s.read(pgno, page); err != nil {
				return err
			}
		}
		return enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page)
	}
	least := s.least
	for _, pgno := range s.pgnos() {
		if pgno > least {
			break
		}
		if err := put(pgno); err != nil {
			return fmt.Errorf("encode %s: %w", s.txid(), err)
		}
	}
	// The file must have every page that is new in the database, even one of zeros.
	lock := ltx.LockPgno(s.log.PageSize)
	for pgno := least + 1; pgno <= s.commit; pgno++ {
		if pgno == lock {
			continue
		}
		if err := put(pgno); err != nil {
			return fmt.Errorf("encode %s: %w", s.txid(), err)
		}
	}
	tee.keep = true
	if err := enc.Close(); err != nil {
		return fmt.Errorf("encode %s: %w", s.txid(), err)
	}
	e.size, e.tail = enc.N(), int64(tee.kept.Len())
	if e.index, e.trailer, err = ltxio.ParseTail(tee.kept.Bytes(), e.hdr, e.size); err != nil {
		return err
	}
	e.ends = [2][]byte{tee.head, tee.kept.Bytes()}
	return nil
}

// walHeaderSize is the size of the header of SQLite's WAL, bytes.
const walHeaderSize = 32

// teeWriter keeps a copy of the first bytes that it writes, and of all bytes that
// it writes while keep is set.
type teeWriter struct {
	w    io.Writer
	head []byte // the file up to the flags of the first frame
	keep bool
	kept bytes.Buffer
}

func (t *teeWriter) Write(p []byte) (int, error) {
	if n := ltx.HeaderSize + ltx.PageHeaderSize - len(t.head); n > 0 {
		t.head = append(t.head, p[:min(n, len(p))]...)
	}
	if t.keep {
		t.kept.Write(p)
	}
	return t.w.Write(p)
}
