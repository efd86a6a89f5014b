package litestream

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// ltxFile describes one LTX file of the replica, from its validated header.
// It is immutable, but for what it is known by on the replica.
type ltxFile struct {
	level     int
	minTXID   ltx.TXID
	maxTXID   ltx.TXID
	size      int64 // bytes
	timestamp int64 // of the header, ms since the Unix epoch
	pageSize  uint32
	commit    uint32 // size of the database after it, pages
	frames    int    // pages that it holds
	framesEnd int64  // where they end, bytes
	checksum  ltx.Checksum
	framesCRC uint64                // what checksum says of the frames
	header    *[ltx.HeaderSize]byte // of a snapshot

	// segment is what stands for a part of the write buffer, nil for what is on
	// the replica. Of the rest only level and pageSize mean something then.
	segment *commitlog.Segment

	gone    atomic.Bool // seen to be deleted
	stale   atomic.Bool // what has its name now has other content
	sized   bool        // frames say their size
	isWhole bool        // it was read whole, or written here, and has its checksum

	wrong   atomic.Pointer[error]   // why no page is read from it any more, nil if pages are
	listed  atomic.Pointer[listing] // last that is known to be of these transactions
	version atomic.Pointer[string]  // last that is known to have this content; nil if there is none
}

// listing is what a listing tells of a file beside its name.
type listing struct {
	size      int64
	createdAt time.Time // zero if it does not tell; its location can be a version
}

func listingOf(info *ltx.FileInfo) listing {
	return listing{info.Size, info.CreatedAt}
}

// is tells whether two listings mean the same file, as far as they tell.
func (l listing) is(m listing) bool {
	v, w := versionIn(l.createdAt), versionIn(m.createdAt)
	switch {
	case l.size != m.size:
		return false
	case v != "" && w != "":
		return v == w
	default:
		return l.createdAt.Equal(m.createdAt) || l.createdAt.IsZero() || m.createdAt.IsZero()
	}
}

// isListedAs tells whether a listing means the file that is known. Its name
// alone does not tell: another history may have a file of that name.
func (f *ltxFile) isListedAs(info *ltx.FileInfo) bool {
	return f.listed.Load().is(listingOf(info))
}

// setListed notes how a file of the same transactions is listed.
func (f *ltxFile) setListed(info *ltx.FileInfo) {
	l := listingOf(info)
	f.listed.Store(&l)
}

// setContent notes whether a file that is listed, of the same transactions, has
// the same content in the same places.
func (f *ltxFile) setContent(info *ltx.FileInfo, same bool) {
	f.stale.Store(!same)
	if version := versionOf(info); same && version != "" {
		f.version.Store(&version)
	}
	f.setListed(info)
	f.gone.Store(!same)
}

// fileName is how errors and logs name a file: <level>/<min>-<max>.ltx.
func fileName(level int, minTXID, maxTXID ltx.TXID) string {
	return fmt.Sprintf("%d/%s", level, ltx.FormatFilename(minTXID, maxTXID))
}

// fileKey is the name of a file.
type fileKey struct {
	level            int
	minTXID, maxTXID ltx.TXID
}

func keyOf(info *ltx.FileInfo) fileKey { return fileKey{info.Level, info.MinTXID, info.MaxTXID} }

func (k fileKey) String() string { return fileName(k.level, k.minTXID, k.maxTXID) }

// compare orders names by level, then by transactions.
func (k fileKey) compare(other fileKey) int {
	return cmp.Or(cmp.Compare(k.level, other.level), cmp.Compare(k.minTXID, other.minTXID), cmp.Compare(k.maxTXID, other.maxTXID))
}

func (f *ltxFile) key() fileKey { return fileKey{f.level, f.minTXID, f.maxTXID} }

func (f *ltxFile) String() string { return fileName(f.level, f.minTXID, f.maxTXID) }

// newLTXFile describes a file, of which tail bytes follow the frames.
func newLTXFile(info *ltx.FileInfo, hdr ltx.Header, index ltxio.Index, tail int64) *ltxFile {
	f := &ltxFile{
		level: info.Level, minTXID: info.MinTXID, maxTXID: info.MaxTXID, size: info.Size,
		timestamp: hdr.Timestamp, pageSize: hdr.PageSize, commit: hdr.Commit,
		frames: index.Len(), framesEnd: info.Size - tail,
	}
	if info.Level == SnapshotLevel {
		header, _ := hdr.MarshalBinary() // it never fails
		f.header = (*[ltx.HeaderSize]byte)(header)
	}
	f.setContent(info, true)
	return f
}
