package https

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// pins remembers which version of each file was seen. A listing tells only the size
// of a file, and a read also the entity tag. The version of a file is its size and
// how often the file was seen to change.
type pins struct {
	mu struct {
		sync.Mutex // held for no I/O
		files      map[clientio.File]pin
	}
}

// pin is the newest version of a file.
type pin struct {
	size    int64
	tag     string // entity tag, or the time of the last change; empty: not known
	changes int
}

func (p pin) version() string { return fmt.Sprintf("%d-%d", p.size, p.changes) }

// listed returns the version of a file that a listing shows with a size.
func (p *pins) listed(f clientio.File, size int64) string { return p.seen(f, size, "") }

// seen returns the version of a file that has a size and a tag, which is empty if
// it is not known.
func (p *pins) seen(f clientio.File, size int64, tag string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.files == nil {
		p.mu.files = map[clientio.File]pin{}
	}
	pin, known := p.mu.files[f]
	switch {
	case !known:
	case pin.size != size:
		pin.changes++
		pin.tag = ""
	case tag != "" && pin.tag != "" && tag != pin.tag:
		pin.changes++
	}
	pin.size = size
	if tag != "" {
		pin.tag = tag
	}
	p.mu.files[f] = pin
	return pin.version()
}

// size returns the size of a file, if it is known.
func (p *pins) size(f clientio.File) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pin, known := p.mu.files[f]
	return pin.size, known
}

// keep forgets all files but those of a listing.
func (p *pins) keep(listed func(clientio.File) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f := range p.mu.files {
		if !listed(f) {
			delete(p.mu.files, f)
		}
	}
}

// tagOf returns what tells the versions of a file apart.
func tagOf(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" {
		return tag
	}
	return h.Get("Last-Modified")
}
