package litestream

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/superfly/ltx"
)

// versionZone is what the name of a location begins with that is a version.
const versionZone = "version "

// withVersion returns a copy of what a listing tells of a file, with its
// version. ltx.FileInfo has no field for it, so the location of CreatedAt bears
// its name, which goes wherever the file's description goes.
func withVersion(info *ltx.FileInfo, version string) *ltx.FileInfo {
	c := *info
	c.CreatedAt = c.CreatedAt.In(time.FixedZone(versionZone+version, 0))
	return &c
}

// versionOf returns the version of a file that was listed, empty if it is not
// known.
func versionOf(info *ltx.FileInfo) string { return versionIn(info.CreatedAt) }

// versionIn returns the version that a time bears, empty if it bears none.
func versionIn(t time.Time) string {
	version, ok := strings.CutPrefix(t.Location().String(), versionZone)
	if !ok {
		return ""
	}
	return version
}

// asListed returns a context for reading a file as it was listed.
func asListed(ctx context.Context, info *ltx.FileInfo) context.Context {
	return clientio.WithVersion(ctx, versionOf(info))
}

// reading returns a context for reading the file that f describes, not another
// one of its name.
func (f *ltxFile) reading(ctx context.Context) context.Context {
	if version := f.version.Load(); version != nil {
		ctx = clientio.WithVersion(ctx, *version)
	}
	return ctx
}

// versionCheck finds out whether a store has one version of a file in a
// listing, and another where the same file is read. If so, versions say nothing
// about what is read.
type versionCheck struct {
	lists   atomic.Int64 // that have begun
	suspect atomic.Pointer[suspectVersion]
	useless atomic.Bool
}

// suspectVersion is a version that a listing told, and a read did not find.
type suspectVersion struct {
	key     fileKey
	version string
	lists   int64 // that had begun when it was read
}

// mismatched notes the error of a read.
func (c *versionCheck) mismatched(k fileKey, err error) {
	var other *clientio.OtherVersionError
	if errors.As(err, &other) {
		c.suspect.Store(&suspectVersion{k, other.Want, c.lists.Load()})
	}
}

// isUseless tells whether a listing, the n-th, shows that versions are of no use:
// it tells the same of a file as one before, which reading it did not confirm
// in between.
func (c *versionCheck) isUseless(n int64, info *ltx.FileInfo, version string) bool {
	s := c.suspect.Load()
	return s != nil && n > s.lists && keyOf(info) == s.key && version == s.version
}
