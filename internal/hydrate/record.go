package hydrate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/pagefile"
)

// record tells what is in a hydration file: the pages, their versions, and the
// history that they belong to. It is in a file of its own, and lists only pages
// that are safely on disk.
//
// The file consists of recordMagic, the size of the next two parts as a u64, a
// JSON header on a line, pairs of varints (number of pages, version or 0) for
// the pages from 1 on, and the CRC-64 of all these. Then come the pages that may
// have been overwritten since. They are appended before that: their number as a
// u32, the page numbers, and the CRC-64 of both, which continues the one before.
// Numbers are big-endian.
type record struct {
	recordHeader
	runs []byte // pairs of varints, as in the file
}

// recordHeader is the part of a record that is stored as JSON.
type recordHeader struct {
	FileID string `json:"file_id,omitempty"` // of the mark of the hydration file; empty before format 2

	// FileNumber is ownfile.Identity.Lasting of the hydration file, and Closed means
	// that nobody has written to that since. Earlier versions write neither.
	FileNumber uint64 `json:"file_number,omitempty"`
	Closed     bool   `json:"closed,omitempty"`

	// RecordNumber is ownfile.Identity.Lasting of the file of the record itself. A
	// backup that is written back to the files that are there has another record in
	// the place of this one. Earlier versions do not write it.
	RecordNumber uint64 `json:"record_number,omitempty"`

	// Table is the generation of the table that the record belongs to. A file and its
	// record may come from a backup, with a table beside them that is newer.
	Table uint64 `json:"table,omitempty"`

	// Replica is Options.Replica. Earlier versions do not write it.
	Replica string `json:"replica,omitempty"`

	PageSize uint32   `json:"page_size"`
	Commit   uint32   `json:"commit"`
	TXID     ltx.TXID `json:"txid"`

	// Complete means that every page of the state is in the hydration file, that
	// every checksum that can be compared was, and that Timestamp, Fresh, Stamps and
	// the times of the files are set. Earlier versions do not write it.
	Complete  bool  `json:"complete,omitempty"`
	Timestamp int64 `json:"timestamp,omitempty"` // of transaction TXID, in milliseconds since the Unix epoch
	Fresh     int64 `json:"fresh,omitempty"`     // when the state was last known to be the newest, in the same unit

	Stamps []recordStamp `json:"stamps,omitempty"` // of transactions at which files of the state ended, ascending

	Files   []datedFile `json:"files"`   // files of the replica that the pages came from
	Samples []sample    `json:"samples"` // pages of the hydration file

	// Compared are runs like those after the header, with 1 for pages that a
	// compared checksum covers.
	Compared []byte `json:"compared,omitempty"`
}

// recordFile identifies an LTX file, also among files of the same name that
// replace each other.
type recordFile struct {
	Level    int          `json:"level"`
	MinTXID  ltx.TXID     `json:"min_txid"`
	MaxTXID  ltx.TXID     `json:"max_txid"`
	Size     int64        `json:"size"`
	Checksum ltx.Checksum `json:"checksum"` // of its trailer
}

// datedFile is a recordFile with what its header says.
type datedFile struct {
	recordFile
	Timestamp int64  `json:"timestamp,omitempty"`
	Commit    uint32 `json:"commit,omitempty"` // size of the database after it, in pages
}

// recordStamp is what a view knows of a transaction.
type recordStamp struct {
	TXID      ltx.TXID `json:"txid"`
	Timestamp int64    `json:"timestamp"`
	Dated     bool     `json:"dated,omitempty"` // Timestamp is that of the transaction
	Commit    uint32   `json:"commit"`
}

// sample is the checksum of a page.
type sample struct {
	Pgno  uint32 `json:"pgno"`
	CRC64 uint64 `json:"crc64"`
}

// runsWriter encodes the versions of pages as runs.
type runsWriter struct {
	b       []byte
	pages   uint64
	version ltx.TXID
}

// add adds pages of one version.
func (w *runsWriter) add(version ltx.TXID, pages uint32) {
	if pages == 0 {
		return
	}
	if version != w.version {
		w.flush()
		w.version = version
	}
	w.pages += uint64(pages)
}

// flush ends the run that add has begun.
func (w *runsWriter) flush() {
	if w.pages > 0 {
		w.b = binary.AppendUvarint(w.b, w.pages)
		w.b = binary.AppendUvarint(w.b, uint64(w.version))
		w.pages = 0
	}
}

// eachRun calls fn for each run of successive pages of the same version. The
// version is 0 for pages that are not listed. It returns false if b is malformed
// or has more than commit pages.
func eachRun(b []byte, commit uint32, fn func(first, pages uint32, version ltx.TXID)) bool {
	for left := uint64(commit); len(b) > 0; {
		pages, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		version, m := binary.Uvarint(b[n:])
		if m <= 0 || pages == 0 || pages > left {
			return false
		}
		fn(uint32(uint64(commit)-left)+1, uint32(pages), ltx.TXID(version))
		left -= pages
		b = b[n+m:]
	}
	return true
}

const (
	recordMagic   = "litestream hydration 2\n"
	oldMagic      = "litestream hydration 1\n" // of hydration files without a mark, which are read
	anyMagic      = "litestream hydration "
	maxRecordSize = 1 << 30
)

var recordTable = crc64.MakeTable(crc64.ECMA)

// encode returns the file without appended pages, and its checksum, which
// appending continues.
func (r *record) encode() ([]byte, uint64, error) {
	header, err := json.Marshal(r.recordHeader)
	if err != nil {
		return nil, 0, err
	}
	b := make([]byte, 0, len(recordMagic)+8+len(header)+1+len(r.runs)+8)
	b = append(b, recordMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(header)+1+len(r.runs)))
	b = append(b, header...)
	b = append(b, '\n')
	b = append(b, r.runs...)
	sum := crc64.Checksum(b, recordTable)
	return binary.BigEndian.AppendUint64(b, sum), sum, nil
}

// encodeForgotten returns what is appended to a record with a checksum for pages
// that are about to be overwritten, and the next checksum.
func encodeForgotten(pgnos []uint32, sum uint64) ([]byte, uint64) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(pgnos)))
	for _, pgno := range pgnos {
		b = binary.BigEndian.AppendUint32(b, pgno)
	}
	sum = crc64.Update(sum, recordTable, b)
	return binary.BigEndian.AppendUint64(b, sum), sum
}

var errBadRecord = errors.New("the record is damaged")

// parseRecord parses the file of a record. It returns the pages that were
// appended as well. It ignores appended bytes that are not complete: a crash cut
// them off before a page was overwritten.
func parseRecord(b []byte) (*record, map[uint32]bool, error) {
	rest, ok := bytes.CutPrefix(b, []byte(recordMagic))
	if !ok {
		rest, ok = bytes.CutPrefix(b, []byte(oldMagic))
	}
	if !ok || len(rest) < 8 {
		return nil, nil, fmt.Errorf("%w: it does not begin like one", errBadRecord)
	}
	n := binary.BigEndian.Uint64(rest)
	if n > uint64(len(rest)) || uint64(len(rest))-8 < n+8 {
		return nil, nil, fmt.Errorf("%w: it is cut off", errBadRecord)
	}
	body, rest := rest[8:8+n], rest[8+n:]
	sum := crc64.Checksum(b[:len(b)-len(rest)], recordTable)
	if binary.BigEndian.Uint64(rest) != sum {
		return nil, nil, fmt.Errorf("%w: checksum mismatch", errBadRecord)
	}
	rest = rest[8:]
	line, runs, ok := bytes.Cut(body, []byte("\n"))
	r := new(record)
	if err := json.Unmarshal(line, &r.recordHeader); !ok || err != nil {
		return nil, nil, fmt.Errorf("%w: its header is malformed", errBadRecord)
	}
	if !ltx.IsValidPageSize(r.PageSize) {
		return nil, nil, fmt.Errorf("%w: page size %d", errBadRecord, r.PageSize)
	}
	if r.runs = runs; !eachRun(runs, r.Commit, func(uint32, uint32, ltx.TXID) {}) {
		return nil, nil, fmt.Errorf("%w: its list of pages is malformed", errBadRecord)
	}
	if !eachRun(r.Compared, r.Commit, func(uint32, uint32, ltx.TXID) {}) {
		return nil, nil, fmt.Errorf("%w: its list of compared pages is malformed", errBadRecord)
	}
	forgotten := make(map[uint32]bool)
	for len(rest) >= 4 {
		n := uint64(binary.BigEndian.Uint32(rest))
		size := 4 + 4*n
		if uint64(len(rest)) < size+8 {
			break
		}
		sum = crc64.Update(sum, recordTable, rest[:size])
		if binary.BigEndian.Uint64(rest[size:]) != sum {
			break
		}
		for i := range n {
			forgotten[binary.BigEndian.Uint32(rest[4+4*i:])] = true
		}
		rest = rest[size+8:]
	}
	return r, forgotten, nil
}

// isRecord accepts the file of a record that this version can read.
func isRecord(f *os.File, info fs.FileInfo) error {
	err := ownfile.BeginsWith(recordMagic, oldMagic)(f, info)
	if err == nil || ownfile.BeginsWith(anyMagic)(f, info) != nil {
		return err
	}
	b := make([]byte, len(anyMagic)+20)
	n, rerr := f.ReadAt(b, 0)
	if rerr != nil && rerr != io.EOF {
		return rerr
	}
	format, _, _ := bytes.Cut(b[len(anyMagic):n], []byte("\n"))
	return fmt.Errorf("it is a record of format %.20q, of a newer version of this library", format)
}

// isRecordTemp accepts the temporary file of a process that was killed while it
// wrote the file of a record.
func isRecordTemp(f *os.File, info fs.FileInfo) error {
	n := min(info.Size(), int64(len(recordMagic)))
	return ownfile.BeginsWith(recordMagic[:n], oldMagic[:n])(f, info)
}

// storedRecord is the content of the file of a record.
type storedRecord struct {
	b      []byte // empty: there is no record
	number uint64 // ownfile.Identity.Lasting of the file
}

// readRecordFile reads the file of a record. It returns an empty one if there is
// none.
func readRecordFile(path string) (storedRecord, error) {
	f, err := ownfile.Open(path, os.O_RDONLY, isRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return storedRecord{}, nil
	}
	if err != nil {
		return storedRecord{}, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxRecordSize+1))
	if err == nil && len(b) > maxRecordSize {
		return storedRecord{}, fmt.Errorf("%w: it is too large", errBadRecord)
	}
	return storedRecord{b, ownfile.IdentityOf(f).Lasting()}, err
}

// writeRecordFile replaces the file of a record of a hydration file. It returns the
// file open, and the checksum that appending continues.
func writeRecordFile(path string, r *record, of *pagefile.File) (f *os.File, sum uint64, err error) {
	f, err = ownfile.ReplaceWith(path, func(f *os.File) (b []byte, err error) {
		r.RecordNumber = ownfile.IdentityOf(f).Lasting()
		b, sum, err = r.encode()
		return b, err
	}, isRecordTemp, of.Handle())
	if err != nil {
		return nil, 0, err
	}
	if err := ownfile.SyncDir(filepath.Dir(path)); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, sum, nil
}

// appendRecordFile appends to the file of a record. It does not look its path up,
// where another process may have put a record of its own meanwhile.
func appendRecordFile(f *os.File, b []byte) error {
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}
