package maintain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/view"
)

// recordSuffix is added to the path of a partial file for its record.
const recordSuffix = "-record"

// A record begins with recordMagic. Records of other versions begin with
// anyRecordMagic, and nothing is continued from them.
//
// Lines follow: JSON, a tab, and a checksum of everything before it in the file. The
// first line of a session says so. Then comes one for each part of an LTX file whose
// pages are in the partial file. A new session repeats what it takes over, and lines
// before it do not count any more. A line with a wrong checksum ends the record: it
// was written in part, it was damaged, or what was there before was overwritten up to
// it.
const (
	anyRecordMagic = "litestream restore "
	recordMagic    = anyRecordMagic + "3\n"
)

var recordTable = crc64.MakeTable(crc64.ECMA)

// recordEvery is the time between two writes to the record. The partial file is
// synced before. It is a variable for tests.
var recordEvery = time.Second

// syncData makes the pages of a partial file durable, and syncRecord its record. They
// are variables for tests.
var (
	syncData   = (*os.File).Sync
	syncRecord = (*pagefile.File).Sync
)

// recordLine is one line of a record.
type recordLine struct {
	Session uint64 `json:"session"`
	Begins  bool   `json:"begins,omitempty"`

	// The following are of a part, which counts from 1.
	File     string       `json:"file,omitempty"`
	Checksum ltx.Checksum `json:"checksum,omitempty"` // of the file
	Part     int          `json:"part,omitempty"`
	CRC      uint64       `json:"crc,omitempty"`
	Size     int64        `json:"size,omitempty"`
	Wrote    []int        `json:"wrote,omitempty"` // see wroteRuns
}

// partOf identifies a part of a file. Files of one name with other content have
// another checksum.
type partOf struct {
	file     string
	checksum ltx.Checksum
	number   int
}

func (c *content) part(number int) partOf {
	return partOf{view.KeyOf(c.info).String(), c.trailer.FileChecksum, number}
}

// written is what the partial file has of a part.
type written struct {
	sum   ltxio.Sum
	wrote []int // see wroteRuns
}

// wroteRuns says which pages of a part were written, as the lengths of runs of pages
// that were not and were, in turn, in the order of the part. It is nil if all were.
func wroteRuns(wrote []bool) (runs []int) {
	if !slices.Contains(wrote, false) {
		return nil
	}
	now, n := false, 0
	for _, w := range wrote {
		if w != now {
			runs, now, n = append(runs, n), w, 0
		}
		n++
	}
	return append(runs, n)
}

// hasAll reports whether the pages that are wanted of a part were written.
func (w written) hasAll(wanted []bool) bool {
	if w.wrote == nil {
		return true
	}
	wrote, i := false, 0
	for _, n := range w.wrote {
		if n < 0 || n > len(wanted)-i || !wrote && slices.Contains(wanted[i:i+n], true) {
			return false
		}
		wrote, i = !wrote, i+n
	}
	return i == len(wanted)
}

// partial is a database that is being restored, and the record of what it has of
// it. The lock of the record keeps other processes away. It is safe for concurrent
// use.
type partial struct {
	path    string
	data    *os.File
	record  *pagefile.File
	session uint64 // a random number
	late    error  // what has failed since the file is at its path

	// The following are not changed once parts are written. Resumes says that the
	// file has pages of an earlier restore.
	resumes bool
	parts   map[partOf]written // that an earlier restore has written

	mu struct {
		sync.Mutex
		sum     uint64    // checksum of the record with the pending lines
		pending []byte    // lines for parts that were written since the last write of the record
		written time.Time // when the record was last written
	}

	// recording is held while pages are synced and the record is written. It comes
	// before mu, and only the calls that do so take it. It guards the following.
	recording sync.Mutex
	end       int64 // size of the record
	lost      bool  // a sync of the pages has failed
}

// openPartial opens or creates a partial file. If it resumes, the caller calls keep
// before it writes pages.
func openPartial(path string) (p *partial, err error) {
	record, err := pagefile.Open(path+recordSuffix, ownfile.BeginsWith(anyRecordMagic))
	if errors.Is(err, pagefile.ErrLocked) {
		return nil, fmt.Errorf("another restore to it is running: %w", err)
	}
	if err != nil {
		return nil, err
	}
	p = &partial{path: path, record: record, session: rand.Uint64()}
	defer func() {
		if err != nil {
			err = errors.Join(err, record.Close())
		}
	}()
	if record.Size() == 0 {
		if _, err := os.Lstat(path); err == nil {
			return nil, errors.Join(fmt.Errorf("%s: %w, and no record says that a restore has made it", path, fs.ErrExist), record.Remove())
		}
		return p, p.create()
	}
	if err := p.read(); err != nil {
		return nil, err
	}
	p.data, err = ownfile.Open(path, os.O_RDWR, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, p.create()
	case err != nil:
		return nil, err
	}
	if p.resumes = len(p.parts) > 0; p.resumes {
		return p, nil
	}
	return p, p.keep(nil)
}

// create makes a new partial file. The record is there before it, durably: that of an
// earlier partial file, which was removed, must not come back beside this one.
func (p *partial) create() (err error) {
	p.parts, p.end = nil, 0
	if err := p.record.Reset(); err != nil {
		return err
	}
	if err := errors.Join(p.begin(), p.record.Sync()); err != nil {
		return err
	}
	p.data, err = ownfile.Create(p.path)
	return err
}

// read reads the record.
func (p *partial) read() error {
	b := make([]byte, p.record.Size())
	if err := p.record.ReadAt(b, 0); err != nil {
		return err
	}
	p.parts, p.end, p.mu.sum = parseRecord(b)
	return nil
}

// parseRecord returns the parts that a record lists, its size up to the last line that
// counts, and the checksum up to there.
func parseRecord(b []byte) (parts map[partOf]written, end int64, sum uint64) {
	rest, ok := bytes.CutPrefix(b, []byte(recordMagic))
	if !ok {
		return nil, 0, 0
	}
	end, sum = int64(len(recordMagic)), crc64.Checksum([]byte(recordMagic), recordTable)
	var session uint64
	for {
		line, next, ok := bytes.Cut(rest, []byte("\n"))
		text, digits, summed := bytes.Cut(line, []byte("\t"))
		after := crc64.Update(sum, recordTable, text)
		var l recordLine
		if !ok || !summed || string(digits) != formatSum(after) || json.Unmarshal(text, &l) != nil || !l.Begins && l.Session != session {
			return parts, end, sum
		}
		if l.Begins {
			session, parts = l.Session, make(map[partOf]written)
		} else {
			parts[partOf{l.File, l.Checksum, l.Part - 1}] = written{ltxio.SumOf(l.CRC, l.Size), l.Wrote}
		}
		end, sum = end+int64(len(line))+1, crc64.Update(after, recordTable, line[len(text):])
		sum = crc64.Update(sum, recordTable, []byte("\n"))
		rest = next
	}
}

func formatSum(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// keep begins a session with some of the parts that an earlier restore has written.
// It is durable when keep returns, so that pages of other parts can be overwritten.
func (p *partial) keep(parts map[partOf]written) error {
	p.parts, p.resumes = parts, len(parts) > 0
	if err := p.begin(); err != nil {
		return err
	}
	if err := syncRecord(p.record); err != nil {
		// The record on the disk may list parts whose pages the next restore overwrites,
		// and no later sync would tell.
		return errors.Join(err, os.Remove(p.path), p.record.Remove())
	}
	if p.resumes {
		return nil
	}
	return p.data.Truncate(0)
}

// begin writes the first lines of a session to the record.
func (p *partial) begin() error {
	p.recording.Lock()
	defer p.recording.Unlock()
	p.mu.Lock()
	var b []byte
	if p.end == 0 {
		b = append(b, recordMagic...)
		p.mu.sum = crc64.Checksum(b, recordTable)
	}
	b = p.appendLine(b, recordLine{Begins: true})
	for part, w := range p.parts {
		b = p.appendLine(b, partLine(part, w))
	}
	p.mu.Unlock()
	err := p.record.WriteAt(b, p.end)
	p.end += int64(len(b))
	return err
}

func partLine(part partOf, w written) recordLine {
	crc, size := w.sum.State()
	return recordLine{File: part.file, Checksum: part.checksum, Part: part.number + 1, CRC: crc, Size: size, Wrote: w.wrote}
}

// appendLine appends a line that follows all others. It is called under mu.
func (p *partial) appendLine(b []byte, l recordLine) []byte {
	l.Session = p.session
	line, _ := json.Marshal(l) // a recordLine can always be encoded
	p.mu.sum = crc64.Update(p.mu.sum, recordTable, line)
	end := "\t" + formatSum(p.mu.sum) + "\n"
	p.mu.sum = crc64.Update(p.mu.sum, recordTable, []byte(end))
	return append(append(b, line...), end...)
}

// has returns the sum of a part of which an earlier restore has written all pages
// that are wanted.
func (p *partial) has(c *content, number int, wanted []bool) (ltxio.Sum, bool) {
	w, ok := p.parts[c.part(number)]
	return w.sum, ok && w.hasAll(wanted)
}

// write writes pages.
func (p *partial) write(data []byte, offset int64) error {
	_, err := p.data.WriteAt(data, offset)
	return err
}

// done notes which pages of a part were written. From time to time, it writes the
// record.
func (p *partial) done(c *content, number int, sum ltxio.Sum, wrote []bool) error {
	p.mu.Lock()
	p.mu.pending = p.appendLine(p.mu.pending, partLine(c.part(number), written{sum, wroteRuns(wrote)}))
	p.mu.Unlock()
	if !p.recording.TryLock() {
		return nil // another call writes the record
	}
	defer p.recording.Unlock()
	p.mu.Lock()
	due := time.Since(p.mu.written) >= recordEvery
	p.mu.Unlock()
	if !due {
		return nil
	}
	return p.writeRecord()
}

// sync makes the pages durable. The caller holds recording.
func (p *partial) sync() error {
	err := syncData(p.data)
	p.lost = p.lost || err != nil
	return err
}

// writeRecord syncs the pages and then records the parts that they are of. Once a sync
// has failed, it records nothing: the system reports such an error once, so that the
// next sync succeeds although pages were lost. The caller holds recording.
func (p *partial) writeRecord() error {
	if p.lost {
		return nil
	}
	p.mu.Lock()
	lines := p.mu.pending
	p.mu.pending = nil
	p.mu.Unlock()
	if err := p.sync(); err != nil {
		return err
	}
	if err := p.record.WriteAt(lines, p.end); err != nil {
		return err
	}
	p.end += int64(len(lines))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.written = time.Now()
	return nil
}

// syncDir makes the name of a database durable. It is a variable for tests.
var syncDir = ownfile.SyncDir

// finish gives the file its size, makes it durable, and moves it to its path. It returns
// no error if the file is there.
func (p *partial) finish(path string, size int64) error {
	if err := p.data.Truncate(size); err != nil {
		return err
	}
	p.recording.Lock()
	err := p.sync()
	p.recording.Unlock()
	if err != nil {
		return err
	}
	if err := checkFree(path); err != nil {
		return err
	}
	if err := p.data.Close(); err != nil {
		return err
	}
	p.data = nil
	if err := renameNew(p.path, path); err != nil {
		return err
	}
	err = errors.Join(p.record.Remove(), p.record.Close())
	p.record = nil
	p.late = errors.Join(err, syncDir(filepath.Dir(path)))
	return nil
}

// abandon ends a restore that has failed. With remove, or if there is nothing to
// continue from, it removes the files.
func (p *partial) abandon(remove bool) (err error) {
	if p.data != nil && !remove {
		p.recording.Lock()
		err = p.writeRecord()
		p.recording.Unlock()
	}
	if p.data != nil {
		err = errors.Join(err, p.data.Close())
	}
	if p.record == nil {
		return err
	}
	if remove {
		err = errors.Join(err, os.Remove(p.path), p.record.Remove())
	}
	return errors.Join(err, p.record.Close())
}
