package https

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// pins remembers which version of each file was seen. A listing tells the size of a
// file and perhaps its time, and a read tells the size and the entity tag. A time and a
// tag cannot be compared. The version of a file is its size and a number, and it gets
// a new number whenever the file may have been replaced.
type pins struct {
	mu struct {
		sync.Mutex // held for no I/O
		files      map[clientio.File]pin
		number     int // the last one that was given to a version of any file
	}
}

// pin is the newest version of a file.
type pin struct {
	number   int
	size     int64
	tag      string    // entity tag, or the time of the last change; empty: no read has told it
	at       time.Time // in listings; zero: none has told it
	isListed bool      // a listing has shown the file
	isRead   bool      // a read has seen this version

	hasChanged bool // a read has found another version than the last listing had
}

func (p pin) version() string { return fmt.Sprintf("%d-%d", p.size, p.number) }

// next returns the number of a new version. The caller holds the lock.
func (p *pins) next() int {
	p.mu.number++
	return p.mu.number
}

// store records the newest version of a file. The caller holds the lock.
func (p *pins) store(f clientio.File, newest pin) {
	if p.mu.files == nil {
		p.mu.files = map[clientio.File]pin{}
	}
	p.mu.files[f] = newest
}

// listed returns the version of a file that a listing shows. Its time is zero if it is
// not known. A file that was read before any listing showed it may have been replaced
// in between, so it gets a new version.
func (p *pins) listed(f listed) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.mu.files[f.File]
	isOther := !f.createdAt.IsZero() && !v.at.IsZero() && !f.createdAt.Equal(v.at)
	if !v.isListed || v.size != f.size || isOther || f.isDoubtful && !v.isRead {
		v.number, v.tag, v.isRead = p.next(), "", false
	}
	v.size, v.isListed, v.hasChanged = f.size, true, false
	if !f.createdAt.IsZero() {
		v.at = f.createdAt
	}
	p.store(f.File, v)
	return v.version()
}

// named records what a listing says about a file that is read next, unless a listing
// has already shown the file.
func (p *pins) named(f listed) {
	if !p.newest(f.File).isListed {
		p.listed(f)
	}
}

// begin returns what a read passes to seen. The read calls it before it sends its
// request.
func (p *pins) begin() (began int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.number
}

// seen returns the version of a file that a read finds with a size and a tag, which
// is empty if it is not known. If the file got another version after the read began,
// the answer may be of an earlier one, and has a version of its own.
func (p *pins) seen(f clientio.File, began int, size int64, tag string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, known := p.mu.files[f]
	switch {
	case known && v.number > began:
		return pin{number: p.next(), size: size}.version()
	case !known, v.size != size:
		v.number, v.size, v.tag, v.hasChanged = p.next(), size, "", known
	case tag != "" && v.tag != "" && tag != v.tag:
		v.number, v.hasChanged = p.next(), true
	}
	if tag != "" {
		v.tag = tag
	}
	v.isRead = true
	p.store(f, v)
	return v.version()
}

// newest returns what is known of a file.
func (p *pins) newest(f clientio.File) pin {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.files[f]
}

// newestRead returns, of the files of a listing whose newest version a read has seen,
// those that end at the newest transaction. They are at most one for each level.
func (p *pins) newestRead(files []listed) (found []clientio.File, last ltx.TXID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range files {
		switch v := p.mu.files[f.File]; {
		case !v.isListed || !v.isRead || f.MaxTXID < last:
			continue
		case f.MaxTXID > last:
			found, last = nil, f.MaxTXID
		}
		found = append(found, f.File)
	}
	return found, last
}

// keep forgets all files but those for which stays returns true. A file that was
// forgotten gets a version that it never had.
func (p *pins) keep(stays func(clientio.File) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.mu.files {
		if !stays(f) {
			delete(p.mu.files, f)
		}
	}
}

// restart forgets all files but some, which were just read, and when listings said that
// these had changed. What they are now is what later listings compare.
func (p *pins) restart(read []clientio.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.mu.files
	p.mu.files = make(map[clientio.File]pin)
	for _, f := range read {
		if v, ok := all[f]; ok {
			v.hasChanged, v.at = false, time.Time{}
			p.mu.files[f] = v
		}
	}
}

// isEmpty reports whether nothing is known of any file.
func (p *pins) isEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.files) == 0
}

// tagOf returns what tells the versions of a file apart.
func tagOf(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" {
		return tag
	}
	return h.Get("Last-Modified")
}
