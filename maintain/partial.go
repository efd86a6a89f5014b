package maintain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/view"
)

// recordSuffix is added to the path of a partial file for its record.
const recordSuffix = "-record"

// recordMagic is how a record begins. Lines of JSON follow: one with the plan, and
// then one for each file that was opened and for each part whose pages are in the
// partial file. A line that was written in part ends the record.
const recordMagic = "litestream restore 1\n"

// recordEvery is the time between two writes to the record. The partial file is
// synced before.
const recordEvery = time.Second

// recordLine is one line of a record.
type recordLine struct {
	Plan []recordedFile `json:"plan,omitempty"`

	// File and Checksum are of a file that was opened. With Part, which counts
	// from 1, they are of a part.
	File     string       `json:"file,omitempty"`
	Checksum ltx.Checksum `json:"checksum,omitempty"`
	Part     int          `json:"part,omitempty"`
	CRC      uint64       `json:"crc,omitempty"`
	Size     int64        `json:"size,omitempty"`
}

// recordedFile is a file of a plan.
type recordedFile struct {
	File string   `json:"file"`
	Max  ltx.TXID `json:"max"`
	Size int64    `json:"size"`
}

// partOf identifies a part of a file.
type partOf struct {
	file   string
	number int
}

// partial is a database that is being restored, and the record of what it has of
// it. The lock of the record keeps other processes away. It is safe for concurrent
// use.
type partial struct {
	path   string
	data   *os.File
	record *pagefile.File

	// The following are not changed after openPartial. Resumes says that the file
	// has pages of an earlier restore.
	resumes   bool
	checksums map[string]ltx.Checksum // of files that an earlier restore has opened
	parts     map[partOf]ltxio.Sum    // sums of parts that an earlier restore has written

	mu struct {
		sync.Mutex
		pending []byte    // lines for parts that were written since the last write of the record
		written time.Time // when the record was last written
	}

	// recording is held while the record is written. It comes before mu, and only
	// the calls that write the record take it.
	recording sync.Mutex
	end       int64 // size of the record; guarded by recording
}

// openPartial opens or creates a partial file for a plan.
func openPartial(path string, plan []*ltx.FileInfo) (p *partial, err error) {
	record, err := pagefile.Open(path+recordSuffix, ownfile.BeginsWith(recordMagic))
	if errors.Is(err, pagefile.ErrLocked) {
		return nil, fmt.Errorf("another restore to it is running: %w", err)
	}
	if err != nil {
		return nil, err
	}
	p = &partial{path: path, record: record}
	defer func() {
		if err != nil {
			err = errors.Join(err, record.Close())
		}
	}()
	if record.Size() == 0 {
		if _, err := os.Lstat(path); err == nil {
			return nil, errors.Join(fmt.Errorf("%s: %w, and no record says that a restore has made it", path, fs.ErrExist), record.Remove())
		}
		return p, p.begins(plan)
	}
	lines, err := readRecord(record)
	if err != nil {
		return nil, err
	}
	p.data, err = ownfile.Open(path, os.O_RDWR, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, p.begins(plan)
	case err != nil:
		return nil, err
	}
	if kept := p.keep(lines, plan); len(kept) == 0 {
		if err := errors.Join(p.data.Close(), os.Remove(path)); err != nil {
			return nil, err
		}
		return p, p.begins(plan)
	}
	p.resumes = true
	return p, p.rewrite(plan)
}

// begins makes a new partial file and a new record.
func (p *partial) begins(plan []*ltx.FileInfo) (err error) {
	p.checksums, p.parts = nil, nil
	if err := p.rewrite(plan); err != nil {
		return err
	}
	p.data, err = ownfile.Create(p.path)
	return err
}

// readRecord returns the lines of a record.
func readRecord(record *pagefile.File) (lines []recordLine, err error) {
	b := make([]byte, record.Size())
	if err := record.ReadAt(b, 0); err != nil {
		return nil, err
	}
	b = b[min(len(recordMagic), len(b)):]
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		var l recordLine
		if !ok || json.Unmarshal(line, &l) != nil {
			return lines, nil
		}
		lines, b = append(lines, l), rest
	}
}

// keep takes over what a record says, and returns the files that it is about. It
// returns none unless the new plan begins with the whole recorded plan.
//
// Then pages that the earlier restore has written are those of the new state, or a
// newer file has them and they are written again. If a file is not in the new plan
// any more, nothing tells that those in its place are of the same history: they may
// leave pages as they are that the file had changed.
func (p *partial) keep(lines []recordLine, plan []*ltx.FileInfo) (kept []recordedFile) {
	if len(lines) == 0 {
		return nil
	}
	kept, now := lines[0].Plan, recorded(plan)
	if len(kept) > len(now) || !slices.Equal(kept, now[:len(kept)]) {
		return nil
	}
	p.checksums, p.parts = make(map[string]ltx.Checksum), make(map[partOf]ltxio.Sum)
	for _, l := range lines[1:] {
		if l.Part == 0 {
			p.checksums[l.File] = l.Checksum
		} else {
			p.parts[partOf{l.File, l.Part - 1}] = ltxio.SumOf(l.CRC, l.Size)
		}
	}
	return kept
}

// recorded returns a plan as a record has it.
func recorded(plan []*ltx.FileInfo) []recordedFile {
	files := make([]recordedFile, len(plan))
	for i, f := range plan {
		files[i] = recordedFile{view.KeyOf(f).String(), f.MaxTXID, f.Size}
	}
	return files
}

// rewrite writes the record anew, with what was taken over of the old one.
func (p *partial) rewrite(plan []*ltx.FileInfo) error {
	p.recording.Lock()
	defer p.recording.Unlock()
	if err := p.record.Reset(); err != nil {
		return err
	}
	b := appendLine([]byte(recordMagic), recordLine{Plan: recorded(plan)})
	for file, checksum := range p.checksums {
		b = appendLine(b, recordLine{File: file, Checksum: checksum})
	}
	for part, sum := range p.parts {
		b = appendLine(b, partLine(part, sum))
	}
	p.end = int64(len(b))
	return p.record.WriteAt(b, 0)
}

func partLine(part partOf, sum ltxio.Sum) recordLine {
	crc, size := sum.State()
	return recordLine{File: part.file, Part: part.number + 1, CRC: crc, Size: size}
}

func appendLine(b []byte, l recordLine) []byte {
	line, _ := json.Marshal(l) // a recordLine can always be encoded
	return append(append(b, line...), '\n')
}

// errReplaced means that a file of the replica has other content than an earlier
// restore found in it.
var errReplaced = fmt.Errorf("%w: its content was replaced since the restore began", errs.ErrCorrupt)

// begin notes that a file was opened.
func (p *partial) begin(c *content) error {
	file := view.KeyOf(c.info).String()
	if checksum, ok := p.checksums[file]; ok {
		if checksum != c.trailer.FileChecksum {
			return fileError(c.info, errReplaced)
		}
		return nil
	}
	p.add(recordLine{File: file, Checksum: c.trailer.FileChecksum})
	return nil
}

// has returns the sum of a part that an earlier restore has written.
func (p *partial) has(c *content, number int) (ltxio.Sum, bool) {
	sum, ok := p.parts[partOf{view.KeyOf(c.info).String(), number}]
	return sum, ok
}

// write writes pages.
func (p *partial) write(data []byte, offset int64) error {
	_, err := p.data.WriteAt(data, offset)
	return err
}

// add adds a line to the next write of the record.
func (p *partial) add(l recordLine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.pending = appendLine(p.mu.pending, l)
}

// done notes that the pages of a part were written. From time to time, it writes
// the record.
func (p *partial) done(c *content, number int, sum ltxio.Sum) error {
	p.add(partLine(partOf{view.KeyOf(c.info).String(), number}, sum))
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

// writeRecord syncs the pages and then records the parts that they are of. The
// caller holds recording.
func (p *partial) writeRecord() error {
	p.mu.Lock()
	lines := p.mu.pending
	p.mu.pending = nil
	p.mu.Unlock()
	if err := p.data.Sync(); err != nil {
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

// finish gives the file its size, makes it durable, and moves it to its path.
func (p *partial) finish(path string, size int64) error {
	if err := p.data.Truncate(size); err != nil {
		return err
	}
	if err := p.data.Sync(); err != nil {
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
	err := errors.Join(p.record.Remove(), p.record.Close())
	p.record = nil
	return errors.Join(err, ownfile.SyncDir(filepath.Dir(path)))
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
