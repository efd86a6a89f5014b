package main

import (
	"sync"

	"github.com/psanford/sqlite3vfs"
)

// vfs is the common interface of both VFSs under test.
type vfs interface {
	sqlite3vfs.VFS
	sqlite3vfs.URIOpener
}

// slot is a VFS registered with SQLite whose implementation can be replaced. A
// VFS can be registered only while no other is in use, and it can never be
// unregistered, but each run needs a new one.
type slot struct {
	name string

	mu  sync.Mutex // guards the fields below
	vfs vfs
	rec *recorder
}

var (
	oursSlot     = newSlot("bench-ours")
	upstreamSlot = newSlot("bench-upstream")
)

func newSlot(name string) *slot {
	s := &slot{name: name}
	if err := sqlite3vfs.RegisterVFS(name, s); err != nil {
		panic(err) // the name is registered already
	}
	return s
}

// set replaces the VFS. Open files stay with the VFS that opened them.
func (s *slot) set(v vfs, rec *recorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vfs, s.rec = v, rec
}

func (s *slot) get() (vfs, *recorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vfs, s.rec
}

func (s *slot) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	v, rec := s.get()
	f, out, err := v.Open(name, flags)
	return rec.wrap(f, flags), out, err
}

func (s *slot) OpenURI(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	v, rec := s.get()
	f, out, err := v.OpenURI(name, params, flags)
	return rec.wrap(f, flags), out, err
}

func (s *slot) Delete(name string, dirSync bool) error {
	v, _ := s.get()
	return v.Delete(name, dirSync)
}

func (s *slot) Access(name string, flags sqlite3vfs.AccessFlag) (bool, error) {
	v, _ := s.get()
	return v.Access(name, flags)
}

func (s *slot) FullPathname(name string) string {
	v, _ := s.get()
	return v.FullPathname(name)
}

// recorder records which pages SQLite reads.
type recorder struct {
	pageSize int64

	mu    sync.Mutex // guards the fields below
	known []bool     // by page number: the page was read
	fresh []uint32   // pages that were read first since the last call of take
}

func newRecorder(pageSize int) *recorder { return &recorder{pageSize: int64(pageSize)} }

// take returns the pages that were read since the last call and never before
// it.
func (r *recorder) take() []uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := r.fresh
	r.fresh = nil
	return fresh
}

func (r *recorder) note(pgno uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if more := int(pgno) + 1 - len(r.known); more > 0 {
		r.known = append(r.known, make([]bool, more)...)
	}
	if !r.known[pgno] {
		r.known[pgno] = true
		r.fresh = append(r.fresh, pgno)
	}
}

// wrap returns a file whose reads are recorded. A nil recorder records nothing
// and costs nothing.
func (r *recorder) wrap(f sqlite3vfs.File, flags sqlite3vfs.OpenFlag) sqlite3vfs.File {
	if r == nil || f == nil || flags&sqlite3vfs.OpenMainDB == 0 {
		return f
	}
	return &recordedFile{f, r}
}

type recordedFile struct {
	sqlite3vfs.File
	rec *recorder
}

func (f *recordedFile) ReadAt(p []byte, off int64) (int, error) {
	f.rec.note(uint32(off/f.rec.pageSize) + 1)
	return f.File.ReadAt(p, off)
}
