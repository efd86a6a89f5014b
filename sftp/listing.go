package sftp

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// maxListing is the limit of the memory of a folder that is being read, in bytes, as far
// as nameMemory tells it: some 700,000 files of OpenSSH's server.
var maxListing int64 = 4 * clientio.MaxListing

// nameMemory is what a name in an answer takes besides its bytes.
const nameMemory = 200

// listings are the folders that are being read on a connection. Package sftp collects
// the names of a folder for as long as a server sends more of them. So the answers are
// looked at before it gets them.
type listings struct {
	mu struct {
		sync.Mutex
		active map[*listing]struct{}
	}
}

// listing is the reading of a folder.
type listing struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	caller context.Context
	memory int64 // guarded by listings.mu
}

// begin returns a listing for a caller that may go before it ends.
func (all *listings) begin(caller context.Context) *listing {
	l := &listing{caller: caller}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.mu.active == nil {
		all.mu.active = make(map[*listing]struct{})
	}
	all.mu.active[l] = struct{}{}
	return l
}

func (all *listings) end(l *listing) {
	all.mu.Lock()
	delete(all.mu.active, l)
	all.mu.Unlock()
	l.cancel(nil)
}

// names takes note of names that a server sends. The answer does not say of which folder
// they are, so that the listings share them. A listing whose caller has gone ends only
// now, because the server has opened the folder by then: its handle would stay open if
// the listing ended before.
func (all *listings) names(size, count int64) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for l := range all.mu.active {
		l.memory += (size + count*nameMemory) / int64(len(all.mu.active))
		switch {
		case l.caller.Err() != nil:
			l.cancel(l.caller.Err())
		case l.memory > maxListing:
			l.cancel(fmt.Errorf("the folder is too large: its names take more than %d bytes", maxListing))
		}
	}
}

// readDir reads a folder.
func (l *link) readDir(ctx context.Context, dir string) ([]fs.FileInfo, error) {
	listing := l.listings.begin(ctx)
	defer l.listings.end(listing)
	entries, err := l.client.ReadDirContext(listing.ctx, dir)
	if cause := context.Cause(listing.ctx); cause != nil {
		return nil, cause
	}
	return entries, err
}

// answers is what a server sends. It tells listings of the names in it.
type answers struct {
	io.Reader
	listings *listings
	head     []byte // begin of a packet
	skip     int64  // bytes to the next one
}

const (
	headSize   = 13  // length, type, number of the request, and number of names
	namesType  = 104 // SSH_FXP_NAME
	lengthSize = 4   // of the length itself, which it does not count
)

// Read implements io.Reader.
func (a *answers) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.look(p[:n])
	return n, err
}

// look reads the beginnings of packets. A packet may be shorter than one with names.
func (a *answers) look(b []byte) {
	for len(b) > 0 {
		if a.skip > 0 {
			n := min(a.skip, int64(len(b)))
			a.skip, b = a.skip-n, b[n:]
			continue
		}
		want := lengthSize
		if len(a.head) >= lengthSize {
			want = int(min(lengthSize+int64(binary.BigEndian.Uint32(a.head)), headSize))
		}
		n := min(want-len(a.head), len(b))
		a.head, b = append(a.head, b[:n]...), b[n:]
		if len(a.head) < want || want == lengthSize && binary.BigEndian.Uint32(a.head) > 0 {
			continue
		}
		length := int64(binary.BigEndian.Uint32(a.head))
		if len(a.head) == headSize && a.head[lengthSize] == namesType {
			a.listings.names(length, int64(binary.BigEndian.Uint32(a.head[headSize-4:])))
		}
		a.skip = lengthSize + length - int64(len(a.head))
		a.head = a.head[:0]
	}
}
