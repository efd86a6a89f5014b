package view

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

// File describes one LTX file of the replica, from its validated header. It
// is immutable except for the atomic fields, which record what is known about
// the object on the replica.
type File struct {
	Level     int
	MinTXID   ltx.TXID
	MaxTXID   ltx.TXID
	Size      int64 // bytes
	Timestamp int64 // from the header, in milliseconds since the Unix epoch
	PageSize  uint32
	Commit    uint32 // size of the database after the file, in pages
	Frames    int    // number of pages in the file
	FramesEnd int64  // offset of the end of the frames, in bytes
	Checksum  ltx.Checksum
	Header    *[ltx.HeaderSize]byte // nil if the file is not a snapshot

	// Dense is the page index of the file, if not all of it was read when the
	// file was loaded. The file has every page of its database.
	Dense *Dense

	// Segment is set if this value stands for a segment of the write buffer; it
	// is nil for a file of the replica. With a segment, only Level and PageSize
	// are valid of the other fields.
	Segment *commitlog.Segment

	// Placeless means that it is not known where pages lie in the file, because
	// this value comes from a record of an earlier process. The file then counts
	// as deleted, whether it exists or not.
	Placeless bool

	Gone    atomic.Bool // the file is known to be deleted, see SetGone
	Stale   atomic.Bool // the object of this name has other content now
	Sized   bool        // frames contain their size
	IsWhole bool        // the file was read whole, or written here, and matches its checksum

	Wrong   atomic.Pointer[error]   // why pages of the file must not be read any more; nil if they may be
	listed  atomic.Pointer[Listing] // newest listing of a file that is known to hold these transactions
	frames  atomic.Pointer[uint64]  // part of Checksum that covers the frames; nil if it is not known
	Version atomic.Pointer[string]  // newest version that is known to have this content; nil if there is none
}

// Listing is what a listing says about a file besides its name.
type Listing struct {
	size      int64
	createdAt time.Time // zero if the listing has no time; the time zone can carry a version
}

// ListingOf returns what a listing says about a file.
func ListingOf(info *ltx.FileInfo) Listing {
	return Listing{info.Size, info.CreatedAt}
}

// Is reports whether two listings describe the same file, as far as they can
// tell.
func (l Listing) Is(m Listing) bool {
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

// IsListedAs reports whether info describes this file. The name alone does not
// decide, because another history may have a file of the same name.
func (f *File) IsListedAs(info *ltx.FileInfo) bool {
	return f.listed.Load().Is(ListingOf(info))
}

// setListed records the listing of a file that holds the same transactions.
func (f *File) setListed(info *ltx.FileInfo) {
	l := ListingOf(info)
	f.listed.Store(&l)
}

// SetContent records whether a listed file with the same transactions has the
// same content in the same places.
func (f *File) SetContent(info *ltx.FileInfo, same bool) {
	f.Stale.Store(!same)
	if version := VersionOf(info); same && version != "" {
		f.Version.Store(&version)
	}
	f.setListed(info)
	f.SetGone(!same)
}

// SetGone records whether the file is known to be deleted.
func (f *File) SetGone(gone bool) { f.Gone.Store(gone || f.Placeless) }

// fileName formats the name of a file for errors and logs:
// <level>/<min>-<max>.ltx.
func fileName(level int, minTXID, maxTXID ltx.TXID) string {
	return fmt.Sprintf("%d/%s", level, ltx.FormatFilename(minTXID, maxTXID))
}

// Levels is the number of levels that files of a replica are on.
const Levels = replica.SnapshotLevel + 1

// Key identifies a file by its name.
type Key struct {
	Level            int
	MinTXID, MaxTXID ltx.TXID
}

// KeyOf returns the key of a listed file.
func KeyOf(info *ltx.FileInfo) Key { return Key{info.Level, info.MinTXID, info.MaxTXID} }

// String formats the name of the file.
func (k Key) String() string { return fileName(k.Level, k.MinTXID, k.MaxTXID) }

// Compare orders keys by level, then by TXIDs.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Level, other.Level), cmp.Compare(k.MinTXID, other.MinTXID), cmp.Compare(k.MaxTXID, other.MaxTXID))
}

// Key returns the key of the file.
func (f *File) Key() Key { return Key{f.Level, f.MinTXID, f.MaxTXID} }

// String formats the name of the file.
func (f *File) String() string { return fileName(f.Level, f.MinTXID, f.MaxTXID) }

// NewFile returns the description of a file in which tail bytes follow the
// frames.
func NewFile(info *ltx.FileInfo, hdr ltx.Header, index ltxio.Index, tail int64) *File {
	return newFile(info, hdr, index.Len(), info.Size-tail)
}

// NewDenseFile returns the description of a file whose page index is read as it
// is needed.
func NewDenseFile(info *ltx.FileInfo, hdr ltx.Header, index *Dense) *File {
	f := newFile(info, hdr, int(index.Pages()), index.FramesEnd)
	f.Dense = index
	return f
}

func newFile(info *ltx.FileInfo, hdr ltx.Header, frames int, framesEnd int64) *File {
	f := &File{
		Level: info.Level, MinTXID: info.MinTXID, MaxTXID: info.MaxTXID, Size: info.Size,
		Timestamp: hdr.Timestamp, PageSize: hdr.PageSize, Commit: hdr.Commit,
		Frames: frames, FramesEnd: framesEnd,
	}
	if info.Level == replica.SnapshotLevel {
		header, _ := hdr.MarshalBinary() // MarshalBinary never returns an error
		f.Header = (*[ltx.HeaderSize]byte)(header)
	}
	f.SetContent(info, true)
	return f
}

// Reading returns a context for reading the version of the file that f
// describes. The read fails if another file of the same name has replaced it.
func (f *File) Reading(ctx context.Context) context.Context {
	if version := f.Version.Load(); version != nil {
		ctx = clientio.WithVersion(ctx, *version)
	}
	return ctx
}

// versionZone is the prefix of the name of a time zone that carries a version.
const versionZone = "version "

// WithVersion returns a copy of info that carries the version of the file.
// ltx.FileInfo has no field for the version, so the name of the time zone of
// CreatedAt carries it. Copies of the info keep it.
func WithVersion(info *ltx.FileInfo, version string) *ltx.FileInfo {
	c := *info
	c.CreatedAt = c.CreatedAt.In(time.FixedZone(versionZone+version, 0))
	return &c
}

// VersionOf returns the version of a listed file, or "" if the version is not
// known.
func VersionOf(info *ltx.FileInfo) string { return versionIn(info.CreatedAt) }

// versionIn returns the version that t carries, or "" if t carries none.
func versionIn(t time.Time) string {
	version, ok := strings.CutPrefix(t.Location().String(), versionZone)
	if !ok {
		return ""
	}
	return version
}

// IsListed reports whether files, a listing, has a file with unchanged content.
func IsListed(f *File, files []*ltx.FileInfo) bool {
	for _, info := range files {
		if KeyOf(info) == f.Key() {
			return f.IsListedAs(info) && !f.Stale.Load()
		}
	}
	return false
}
