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
	runs []versionRun
}

type recordHeader struct {
	PageSize uint32       `json:"page_size"`
	Commit   uint32       `json:"commit"`
	TXID     ltx.TXID     `json:"txid"`
	Files    []recordFile `json:"files"`   // of the replica, that had the pages
	Samples  []sample     `json:"samples"` // of the hydration file
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

// versionRun is a number of pages that follow each other and have the same
// version; 0 if they are not there.
type versionRun struct {
	pages   uint32
	version ltx.TXID
}

const (
	recordMagic   = "litestream hydration 1\n"
	maxRecordSize = 1 << 30
)

var recordTable = crc64.MakeTable(crc64.ECMA)

// appendRun adds a page to runs.
func appendRun(runs []versionRun, version ltx.TXID) []versionRun {
	if n := len(runs); n > 0 && runs[n-1].version == version {
		runs[n-1].pages++
		return runs
	}
	return append(runs, versionRun{1, version})
}

// encode returns the file's begin, and its checksum, which goes on with what is
// appended.
func (r *record) encode() ([]byte, uint64, error) {
	header, err := json.Marshal(r.recordHeader)
	if err != nil {
		return nil, 0, err
	}
	body := append(header, '\n')
	for _, run := range r.runs {
		body = binary.AppendUvarint(body, uint64(run.pages))
		body = binary.AppendUvarint(body, uint64(run.version))
	}
	b := append([]byte(recordMagic), binary.BigEndian.AppendUint64(nil, uint64(len(body)))...)
	b = append(b, body...)
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
	for left := uint64(r.Commit); len(runs) > 0; {
		pages, n := binary.Uvarint(runs)
		if n <= 0 {
			return nil, nil, fmt.Errorf("%w: pages", errBadRecord)
		}
		version, m := binary.Uvarint(runs[n:])
		if m <= 0 || pages == 0 || pages > left {
			return nil, nil, fmt.Errorf("%w: pages", errBadRecord)
		}
		runs = runs[n+m:]
		left -= pages
		r.runs = append(r.runs, versionRun{uint32(pages), ltx.TXID(version)})
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

// readRecordFile reads the file of a record, nil if there is none.
func readRecordFile(path string) ([]byte, error) {
	f, err := os.Open(path)
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
	return b, err
}

// writeRecordFile replaces the file of a record.
func writeRecordFile(path string, b []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}

// appendRecordFile appends to the file of a record.
func appendRecordFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
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
