package replica

import (
	"context"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// NoteFileVersion reports the version of an item of a listing to the reader of
// the listing. A client calls it if its store tells objects of one name apart,
// by an ETag or a generation, and before Next returns true for the item. The
// context is the context of the listing. See FileVersion.
func NoteFileVersion(ctx context.Context, info *ltx.FileInfo, version string) {
	clientio.NoteVersion(ctx, info, version)
}

// FileVersion returns the version of the file that OpenLTXFile has to read, as
// a listing has reported it. It returns an empty string if OpenLTXFile may read
// any version. A client that calls NoteFileVersion returns the error of
// CheckFileVersion, and no bytes, if the file has another version.
func FileVersion(ctx context.Context) string { return clientio.Version(ctx) }

// CheckFileVersion returns an error that wraps fs.ErrNotExist if the context of
// a read asks for another version than got. Quotes around a version do not
// count, and an empty version matches every version. It also tells the reader
// which version it reads, so a client calls it for every read.
func CheckFileVersion(ctx context.Context, got string) error { return clientio.CheckVersion(ctx, got) }
