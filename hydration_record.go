package litestream

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
)

// record says what is in a hydration file, in a file beside it: which pages,
// as of which transaction, of which history. It lists no page that is not
// safely on disk.
//
// The file begins with recordMagic, the size of what follows as a u64, a JSON
// header on a line, and pairs of varints (number of pages, version or 0) for
// the pages from 1 on; the CRC-64 of all that. What follows are the pages that
// are to be overwritten since, appended before they are: each time their
// number as a u32, the page numbers, and the CRC-64 of both, which goes on
// from the one before. Numbers are big-endian.
type record struct {
	recordHeader
	runs []byte // pairs of varints, as in the file
}

type recordHeader struct {
	PageSize uint32       `json:"page_size"`
	Commit   uint32       `json:"commit"`
	TXID     ltx.TXID     `json:"txid"`
	Files    []recordFile `json:"files"`   // of the replica, that had the pages
	Samples  []sample     `json:"samples"` // of the hydration file

	// Compared are runs as those that follow the header, with 1 for pages that a
	// compared checksum covers.
	Compared []byte `json:"compared,omitempty"`
}

// recordFile tells one LTX file from others of the same name.
type recordFile struct {
	Level    int          `json:"level"`
	MinTXID  ltx.TXID     `json:"min_txid"`
	MaxTXID  ltx.TXID     `json:"max_txid"`
	Size     int64        `json:"size"`
	Checksum ltx.Checksum `json:"checksum"` // of its trailer
}

// sample is the content of a page.
type sample struct {
	Pgno  uint32 `json:"pgno"`
	CRC64 uint64 `json:"crc64"`
}

// runsWriter encodes the versions of pages, in order.
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

func (w *runsWriter) flush() {
	if w.pages > 0 {
		w.b = binary.AppendUvarint(w.b, w.pages)
		w.b = binary.AppendUvarint(w.b, uint64(w.version))
		w.pages = 0
	}
}

// eachRun calls fn with the first of pages that follow each other and have the
// same version, their number, and the version: 0 if they are not there. It
// returns false if that cannot be of a database of so many pages.
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
	recordMagic   = "litestream hydration 1\n"
	maxRecordSize = 1 << 30
)

var recordTable = crc64.MakeTable(crc64.ECMA)

// encode returns the file's begin, and its checksum, which goes on with what is
// appended.
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

// encodeForgotten returns what is appended for pages that are to be
// overwritten.
func encodeForgotten(pgnos []uint32, sum uint64) ([]byte, uint64) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(pgnos)))
	for _, pgno := range pgnos {
		b = binary.BigEndian.AppendUint32(b, pgno)
	}
	sum = crc64.Update(sum, recordTable, b)
	return binary.BigEndian.AppendUint64(b, sum), sum
}

var errBadRecord = errors.New("the record is damaged")

// parseRecord parses a file. It returns the pages that were appended, too.
// What was appended and is not whole was cut off by a crash, before anything
// was overwritten.
func parseRecord(b []byte) (*record, map[uint32]bool, error) {
	rest, ok := bytes.CutPrefix(b, []byte(recordMagic))
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
		return nil, nil, fmt.Errorf("%w: header", errBadRecord)
	}
	if !ltx.IsValidPageSize(r.PageSize) {
		return nil, nil, fmt.Errorf("%w: page size %d", errBadRecord, r.PageSize)
	}
	if r.runs = runs; !eachRun(runs, r.Commit, func(uint32, uint32, ltx.TXID) {}) {
		return nil, nil, fmt.Errorf("%w: pages", errBadRecord)
	}
	if !eachRun(r.Compared, r.Commit, func(uint32, uint32, ltx.TXID) {}) {
		return nil, nil, fmt.Errorf("%w: compared pages", errBadRecord)
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

// isRecord recognises the file of a record.
var isRecord = ownfile.BeginsWith(recordMagic)

// isRecordTemp recognises what a killed process left that was about to write
// the file of a record.
func isRecordTemp(f *os.File, info fs.FileInfo) error {
	n := min(info.Size(), int64(len(recordMagic)))
	return ownfile.BeginsWith(recordMagic[:n])(f, info)
}

// readRecordFile reads the file of a record, nil if there is none, or nothing in
// it.
func readRecordFile(path string) ([]byte, error) {
	f, err := ownfile.Open(path, os.O_RDONLY, isRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxRecordSize+1))
	if err == nil && len(b) > maxRecordSize {
		return nil, fmt.Errorf("%w: it is too large", errBadRecord)
	}
	if len(b) == 0 {
		return nil, err
	}
	return b, err
}

// writeRecordFile replaces the file of a record.
func writeRecordFile(path string, b []byte) error {
	if err := ownfile.Replace(path, b, isRecordTemp); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// appendRecordFile appends to the file of a record.
func appendRecordFile(path string, b []byte) error {
	f, err := ownfile.Open(path, os.O_RDWR|os.O_APPEND, isRecord)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir has the names in a folder survive the loss of power, where the
// system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
