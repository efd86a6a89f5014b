package litestream

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
)

// ltxFile describes one LTX file of the replica, from its validated header. It
// is immutable except for the atomic fields, which record what is known about
// the object on the replica.
type ltxFile struct {
	level     int
	minTXID   ltx.TXID
	maxTXID   ltx.TXID
	size      int64 // bytes
	timestamp int64 // from the header, in milliseconds since the Unix epoch
	pageSize  uint32
	commit    uint32 // size of the database after the file, in pages
	frames    int    // number of pages in the file
	framesEnd int64  // offset of the end of the frames, in bytes
	checksum  ltx.Checksum
	framesCRC uint64                // part of checksum that covers the frames
	header    *[ltx.HeaderSize]byte // nil if the file is not a snapshot

	// segment is set if this value stands for a segment of the write buffer; it
	// is nil for a file of the replica. With a segment, only level and pageSize
	// are valid of the other fields.
	segment *commitlog.Segment

	gone    atomic.Bool // the file is known to be deleted
	stale   atomic.Bool // the object of this name has other content now
	sized   bool        // frames contain their size
	isWhole bool        // the file was read whole, or written here, and matches its checksum

	wrong   atomic.Pointer[error]   // why pages of the file must not be read any more; nil if they may be
	listed  atomic.Pointer[listing] // newest listing of a file that is known to hold these transactions
	version atomic.Pointer[string]  // newest version that is known to have this content; nil if there is none
}

// listing is what a listing says about a file besides its name.
type listing struct {
	size      int64
	createdAt time.Time // zero if the listing has no time; the time zone can carry a version
}

func listingOf(info *ltx.FileInfo) listing {
	return listing{info.Size, info.CreatedAt}
}

// is reports whether two listings describe the same file, as far as they can
// tell.
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

// isListedAs reports whether info describes this file. The name alone does not
// decide, because another history may have a file of the same name.
func (f *ltxFile) isListedAs(info *ltx.FileInfo) bool {
	return f.listed.Load().is(listingOf(info))
}

// setListed records the listing of a file that holds the same transactions.
func (f *ltxFile) setListed(info *ltx.FileInfo) {
	l := listingOf(info)
	f.listed.Store(&l)
}

// setContent records whether a listed file with the same transactions has the
// same content in the same places.
func (f *ltxFile) setContent(info *ltx.FileInfo, same bool) {
	f.stale.Store(!same)
	if version := versionOf(info); same && version != "" {
		f.version.Store(&version)
	}
	f.setListed(info)
	f.gone.Store(!same)
}

// fileName formats the name of a file for errors and logs:
// <level>/<min>-<max>.ltx.
func fileName(level int, minTXID, maxTXID ltx.TXID) string {
	return fmt.Sprintf("%d/%s", level, ltx.FormatFilename(minTXID, maxTXID))
}

// fileKey identifies a file by its name.
type fileKey struct {
	level            int
	minTXID, maxTXID ltx.TXID
}

func keyOf(info *ltx.FileInfo) fileKey { return fileKey{info.Level, info.MinTXID, info.MaxTXID} }

func (k fileKey) String() string { return fileName(k.level, k.minTXID, k.maxTXID) }

// compare orders keys by level, then by TXIDs.
func (k fileKey) compare(other fileKey) int {
	return cmp.Or(cmp.Compare(k.level, other.level), cmp.Compare(k.minTXID, other.minTXID), cmp.Compare(k.maxTXID, other.maxTXID))
}

func (f *ltxFile) key() fileKey { return fileKey{f.level, f.minTXID, f.maxTXID} }

func (f *ltxFile) String() string { return fileName(f.level, f.minTXID, f.maxTXID) }

// newLTXFile describes a file in which tail bytes follow the frames.
func newLTXFile(info *ltx.FileInfo, hdr ltx.Header, index ltxio.Index, tail int64) *ltxFile {
	f := &ltxFile{
		level: info.Level, minTXID: info.MinTXID, maxTXID: info.MaxTXID, size: info.Size,
		timestamp: hdr.Timestamp, pageSize: hdr.PageSize, commit: hdr.Commit,
		frames: index.Len(), framesEnd: info.Size - tail,
	}
	if info.Level == replica.SnapshotLevel {
		header, _ := hdr.MarshalBinary() // MarshalBinary never returns an error
		f.header = (*[ltx.HeaderSize]byte)(header)
	}
	f.setContent(info, true)
	return f
}

// reading returns a context for reading the version of the file that f
// describes. The read fails if another file of the same name has replaced it.
func (f *ltxFile) reading(ctx context.Context) context.Context {
	if version := f.version.Load(); version != nil {
		ctx = clientio.WithVersion(ctx, *version)
	}
	return ctx
}

// versionZone is the prefix of the name of a time zone that carries a version.
const versionZone = "version "

// withVersion returns a copy of info that carries the version of the file.
// ltx.FileInfo has no field for the version, so the name of the time zone of
// CreatedAt carries it. Copies of the info keep it.
func withVersion(info *ltx.FileInfo, version string) *ltx.FileInfo {
	c := *info
	c.CreatedAt = c.CreatedAt.In(time.FixedZone(versionZone+version, 0))
	return &c
}

// versionOf returns the version of a listed file, or "" if the version is not
// known.
func versionOf(info *ltx.FileInfo) string { return versionIn(info.CreatedAt) }

// versionIn returns the version that t carries, or "" if t carries none.
func versionIn(t time.Time) string {
	version, ok := strings.CutPrefix(t.Location().String(), versionZone)
	if !ok {
		return ""
	}
	return version
}

// isListed reports whether a file is listed, and unchanged.
func isListed(f *ltxFile, files []*ltx.FileInfo) bool {
	for _, info := range files {
		if keyOf(info) == f.key() {
			return f.isListedAs(info) && !f.stale.Load()
		}
	}
	return false
}
