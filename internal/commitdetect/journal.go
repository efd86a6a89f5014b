package commitdetect

import (
	"github.com/ltxvfs/litestream/internal/tempfile"
)

// Journal is the rollback journal of a file that writes. It exists as long as it
// is open, since nothing is to be rolled back after a crash.
type Journal struct {
	tempfile.File
	main *File
	name string
}

// openJournal opens the journal of a file that holds the writer slot.
func (f *File) openJournal(name string) *Journal {
	f.journal = &Journal{File: tempfile.New(f.memory), main: f, name: name}
	f.journalName, f.state = name, journalOpen
	return f.journal
}

// zeroedHeader is how many zeros SQLite writes over the header of a journal that
// stays, in bytes.
const zeroedHeader = 28

// journalMagic is what a journal begins with. SQLite writes it alone only after the
// name of a super-journal, at the end of the journal and before it syncs the main file.
const journalMagic = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

// WriteAt writes to the journal. Zeros over its header finalise it.
func (j *Journal) WriteAt(p []byte, off int64) (n int, err error) {
	if string(p) == journalMagic {
		j.main.journalNamesSuper()
	}
	if off == 0 && len(p) >= zeroedHeader && isZero(p) {
		if err := j.main.journalIsFinal(); err != nil {
			return 0, err
		}
	}
	return j.File.WriteAt(p, off)
}

// Truncate sets the size of the journal. An empty one is final.
func (j *Journal) Truncate(size int64) (err error) {
	if size == 0 {
		if err := j.main.journalIsFinal(); err != nil {
			return err
		}
	}
	return j.File.Truncate(size)
}

// Close closes the journal. SQLite deletes it next, which finalises it; or it has
// given up after an error, and then nothing finalises it.
func (j *Journal) Close() (err error) {
	if j.main.journal == j {
		j.main.journal = nil
		if j.main.level >= Reserved { // otherwise it stayed open after its transaction
			j.main.files.journalClosed(j.name, j.main)
		}
	}
	j.main.memory = j.Spare()
	return j.File.Close()
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
