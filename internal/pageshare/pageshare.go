// Package pageshare provides the table by which the processes of a host share a
// local file of pages. One process owns the file: it writes pages, and says in
// the table which version of each page the file has. The others, the borrowers,
// map both and read.
//
// The table is a file of one word for each page after a head. A word is the
// version of the page, or 0 while the page is absent. The owner sets the word to 0
// before it overwrites the page, and to the version afterwards. A borrower that
// finds the same word and the same generation before and after it has copied a
// page has copied that version. So an owner that is killed at any moment leaves
// absent pages, and no torn ones.
//
// What the words say is lost when the host starts anew, because pages that were
// not synced are lost then. So a table is believed for one boot only. Systems
// that do not tell their boots apart, or have no memory maps, share no file.
//
// Every access to mapped memory is guarded: a table that another program has cut
// off has no pages, and an owner whose table was cut off stops sharing.
package pageshare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/superfly/ltx"
)

const (
	magic  = "litestream share" // 16 bytes
	format = 2

	headSize    = 64 << 10 // a multiple of the page size of every system
	segmentSize = 4 << 20  // bytes of words that are mapped at once
	segmentLen  = segmentSize / 8
	growth      = 8 << 10 // the room for words grows by multiples of this

	// MaxAnchors is how many files a table can name.
	MaxAnchors = 512
)

// comparedBit is the bit of a word that tells that a compared checksum covers
// the page.
const comparedBit = 1 << 63

// State tells whether the table is in use.
type State uint64

// The states of a table.
const (
	Beginning State = iota // its owner has published no view yet
	InUse
	Abandoned // another process has put another file in the place of the one that the table is of
	Withdrawn // the owner goes on without the table, which could not be written
)

func (s State) String() string {
	if s > Withdrawn {
		return "unknown"
	}
	return [...]string{"beginning", "in use", "abandoned", "withdrawn"}[s]
}

// head is the beginning of a table, as it is in memory. Numbers have the byte
// order of the host.
type head struct {
	magic  [16]byte
	format uint64
	boot   [16]byte
	fileID FileID // of the file of pages

	state      atomic.Uint64
	generation atomic.Uint64 // changes when pages of the same version may have another content, or words are not kept up to date
	pageSize   atomic.Uint64
	room       atomic.Uint64 // words that the table has
	markAt     atomic.Uint64 // where the mark of the file of pages is

	owner atomic.Uint64 // number of the process
	beat  atomic.Uint64 // when the owner last ran, see Now

	txid    atomic.Uint64 // newest transaction that the owner knows of
	polled  atomic.Uint64 // when the owner last knew that no newer one exists, see Now
	used    atomic.Uint64 // when a transaction of any process last ran, see Now; written by borrowers
	pages   atomic.Uint64 // present pages
	total   atomic.Uint64 // pages of the view of the owner
	settled atomic.Uint64 // 1 if every page is present and every checksum that can be compared was

	wrong atomic.Uint64 // how often pages have turned out to be wrong that were there

	turn    atomic.Uint64 // odd while the anchors change
	anchors atomic.Uint64 // how many there are
	anchor  [MaxAnchors][5]atomic.Uint64
}

const _ = uint(headSize - unsafe.Sizeof(head{})) // it fits

// FileID tells a file of pages from others. A copy of it has the same mark, and
// another number: the copy may lack pages that the table has, which is a copy, too.
type FileID struct {
	Mark   [16]byte
	Number uint64 // of ownfile.Identity.InBoot; 0: the system does not tell it
}

// Anchor is a file of the replica that the view of the owner consists of. A
// borrower whose view has the same file has the same history up to MaxTXID.
type Anchor struct {
	Level            int
	MinTXID, MaxTXID ltx.TXID
	Size             int64
	Checksum         ltx.Checksum
}

// Published is what an owner publishes when it has a new view.
type Published struct {
	TXID    ltx.TXID
	MarkAt  int64    // of the file of pages
	Total   int64    // pages of the view
	Anchors []Anchor // the newest first; those beyond MaxAnchors are left out
}

// Progress tells how far the copy has come.
type Progress struct {
	Pages, Total int64
	Settled      bool // every page is present and every checksum that can be compared was
}

// Table is a mapped table. It is safe for concurrent use. Methods of a nil Table
// do nothing, which is a file that is not shared.
type Table struct {
	f    *os.File
	path string
	own  bool // this process is the owner, or about to be
	made bool // this process has made the table

	head   []byte
	words  atomic.Pointer[[][]byte] // segments
	closed atomic.Bool

	// room is how many words the table has, according to its owner. The head says it
	// to borrowers, and may be damaged.
	room atomic.Uint64

	// withdrawn is set after borrowers were told to leave the table, because a write
	// has failed: the disk is full, or the table was cut off. Then no word is
	// believed, whatever the table says.
	withdrawn atomic.Bool

	// believed is set if borrowers may still believe the table that was withdrawn.
	believed atomic.Bool

	mu      sync.Mutex   // duty: growth, the mapping of further segments, and withdrawal; taken before writing
	writing sync.RWMutex // duty: memory is not unmapped while it is written; read-locked to write
}

var (
	// ErrFormat means that a table has another format: another version of this
	// library made it.
	ErrFormat = errors.New("the shared table has another format")

	// ErrNotShared means that there is no table of a file that this process can
	// use.
	ErrNotShared = errors.New("the file is not shared")

	errFault = errors.New("the shared table was cut off")

	errBelieved = errors.New("the shared table can neither be written nor emptied")
)

// Suffix is what the path of a table adds to the path of its file of pages.
const Suffix = "-shared"

// isTable accepts a table of any format.
var isTable = ownfile.BeginsWith(magic)

// Supported returns nil if processes of this system can share files.
func Supported() error {
	_, err := bootID()
	return err
}

// Create creates the table of a file of pages that this process has locked, in
// place of one that may be at the path. Processes that have mapped that one leave
// it, because it is abandoned. They believe none of its words any more if it is of
// the same file. The table has the owner and the permissions of the file like.
func Create(path string, fileID FileID, pageSize uint32, like *os.File) (*Table, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	endOld(path, fileID)
	b := make([]byte, headSize)
	h := (*head)(unsafe.Pointer(&b[0]))
	copy(h.magic[:], magic)
	h.format, h.boot, h.fileID = format, boot, fileID
	// Not that of another table: this one may be cut off, grow again, and begin
	// generations from zero then.
	h.generation.Store(rand.Uint64())
	h.pageSize.Store(uint64(pageSize))
	h.owner.Store(uint64(os.Getpid()))
	h.beat.Store(uint64(Now()))
	f, err := ownfile.ReplaceLike(path, b, isTable, like)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	t, err := mapTable(f, path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t.own, t.made = true, true
	return t, nil
}

// endOld makes processes leave the table at a path before a table of a file takes
// its place. One that does not run may look long after that.
func endOld(path string, fileID FileID) {
	old, err := open(path)
	switch {
	case err == nil:
		ok := old.change(func(h *head) {
			// The words of another file stay right: its pages are not overwritten, and may
			// still be copied from there.
			if h.fileID == fileID {
				h.end()
			} else {
				h.state.Store(uint64(Abandoned))
			}
		})
		if !ok {
			_ = old.f.Truncate(0)
		}
		_ = old.Close()
	case errors.Is(err, ErrFormat): // its head is not known, and none can be read in an empty file
		if f, err := ownfile.Open(path, os.O_RDWR, isTable); err == nil {
			_ = f.Truncate(0)
			_ = f.Close()
		}
	}
}

// end ends the use of a table whose words are not kept up to date any more.
func (h *head) end() {
	h.state.Store(uint64(Abandoned)) // first: see Anchors
	h.generation.Add(1)
}

// IsNew reports whether Create has made the table.
func (t *Table) IsNew() bool { return t != nil && t.made }

// Open opens the table of a file of pages with this ID. The error is
// ErrNotShared if there is none of this boot, and ErrFormat if another version of
// the library shares the file.
func Open(path string, fileID FileID) (*Table, error) {
	t, err := open(path)
	if err != nil {
		return nil, err
	}
	other := errFault
	boot, err := bootID()
	t.guard(func(h *head) {
		switch {
		case err != nil:
			other = err
		case h.boot != boot:
			other = fmt.Errorf("%w: its table is of another boot", ErrNotShared)
		case h.fileID != fileID:
			other = fmt.Errorf("%w: its table is of another file", ErrNotShared)
		default:
			other = nil
		}
	})
	if other != nil {
		return nil, errors.Join(other, t.Close())
	}
	return t, nil
}

// open opens a table of this format.
func open(path string) (*Table, error) {
	f, err := ownfile.Open(path, os.O_RDWR, isTable)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no table", ErrNotShared)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < headSize {
		err = fmt.Errorf("%w: its table has %d bytes", ErrNotShared, info.Size())
	}
	b := make([]byte, len(magic)+8)
	if err == nil {
		_, err = f.ReadAt(b, 0)
	}
	if n := binary.NativeEndian.Uint64(b[len(magic):]); err == nil && n != format {
		err = fmt.Errorf("%w, %d and not %d", ErrFormat, n, format)
	}
	var t *Table
	if err == nil {
		t, err = mapTable(f, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

// mapTable maps the head of a table.
func mapTable(f *os.File, path string) (*Table, error) {
	t := &Table{f: f, path: path}
	var err error
	if t.head, err = mapFile(f, 0, headSize, true); err != nil {
		return nil, fmt.Errorf("map %s: %w", filepath.Base(path), err)
	}
	t.words.Store(new([][]byte))
	return t, nil
}

// Claim is Open for a process that has locked the file of pages, and is about to
// be the owner. The owner before may have ended long ago, so Claim says that this
// process runs: borrowers would take it for stopped otherwise.
func Claim(path string, fileID FileID) (*Table, error) {
	t, err := Open(path, fileID)
	if err != nil {
		return nil, err
	}
	room := uint64(0)
	if !t.guard(func(h *head) { room = h.room.Load() }) {
		err = errFault
	}
	if err == nil {
		err = t.hasRoom(room)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.own = true
	t.room.Store(room)
	t.change(func(h *head) { h.beat.Store(uint64(Now())) })
	return t, nil
}

// Own makes this process the owner of a table that it has claimed. From then on
// borrowers believe none of the words of before.
func (t *Table) Own(pageSize uint32) error {
	return t.write(func(h *head) {
		h.state.Store(uint64(Beginning)) // first: see Anchors
		h.pageSize.Store(uint64(pageSize))
		h.generation.Add(1)
		h.owner.Store(uint64(os.Getpid()))
		h.beat.Store(uint64(Now()))
		h.turn.Store(h.turn.Load() &^ 1) // the owner before may have ended in Publish
	})
}

// Close ends the use of the table. Reads find no pages from then on.
func (t *Table) Close() error {
	if t == nil || t.closed.Swap(true) {
		return nil
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	var all []error
	if words := t.words.Swap(new([][]byte)); words != nil {
		for _, m := range *words {
			all = append(all, unmapFile(m))
		}
	}
	// A child that was forked meanwhile has the same open file, and would keep the
	// lock of an election.
	all = append(all, unmapFile(t.head), unlockFile(t.f), t.f.Close())
	return errors.Join(all...)
}

// IsThere reports whether the path still names the table.
func (t *Table) IsThere() bool { return ownfile.IsAt(t.f, t.path) }

// Remove removes the path if it still names the table, and ends its use. The next
// owner cannot find it any more, so no word is believed from then on.
func (t *Table) Remove() error {
	if t == nil {
		return nil
	}
	t.change((*head).end)
	return t.Unlink()
}

// Unlink removes the path if it still names the table, whatever is in it by now.
// Borrowers look for another table then.
func (t *Table) Unlink() error {
	if t == nil {
		return nil
	}
	return ownfile.Remove(t.f, t.path)
}

// guard calls fn with the head. It reports false if the memory of the table
// cannot be accessed any more, because the file was cut off, or the table is
// closed. Then what fn has read is of no meaning.
func (t *Table) guard(fn func(*head)) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, isFault := r.(interface{ Addr() uintptr }); !isFault {
				panic(r)
			}
			ok = false
		}
	}()
	if t.closed.Load() {
		return false
	}
	fn((*head)(unsafe.Pointer(&t.head[0])))
	return !t.closed.Load()
}

// write is guard for what the owner writes. If that fails, the owner withdraws
// the table.
func (t *Table) write(fn func(*head)) error {
	if t == nil {
		return nil
	}
	if t.withdrawn.Load() {
		return errFault
	}
	if !t.change(fn) {
		t.Withdraw()
		return errFault
	}
	return nil
}

// Withdraw makes borrowers leave the table. If that cannot be written, because the
// file system writes each change to another place and has none left, or because the
// table was cut off, Withdraw empties the file, so that borrowers cannot read it.
func (t *Table) Withdraw() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.withdrawn.Load() {
		return
	}
	ok := t.change(func(h *head) {
		h.state.Store(uint64(Withdrawn)) // first: see Anchors
		h.generation.Add(1)
	})
	if !ok && !t.closed.Load() && t.f.Truncate(0) != nil {
		t.believed.Store(true)
	}
	// Last: a goroutine that finds it set overwrites pages without clearing words.
	t.withdrawn.Store(true)
}

// Err returns an error if borrowers may believe words that this process could not
// change. It must not overwrite pages of the file then.
func (t *Table) Err() error {
	if t != nil && t.believed.Load() {
		return fmt.Errorf("%s: %w", t.path, errBelieved)
	}
	return nil
}

// IsIntact reports whether the path names the table, and borrowers can read all of it.
// A nil table is not intact.
func (t *Table) IsIntact() bool {
	if t == nil || t.withdrawn.Load() || !t.IsThere() {
		return false
	}
	room, isOurs := uint64(0), false
	ok := t.guard(func(h *head) { room, isOurs = h.room.Load(), string(h.magic[:]) == magic })
	return ok && isOurs && t.hasRoom(room) == nil
}

// change is guard for a function that writes.
func (t *Table) change(fn func(*head)) bool {
	t.writing.RLock()
	defer t.writing.RUnlock()
	return t.guard(fn)
}
