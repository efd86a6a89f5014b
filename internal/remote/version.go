package remote

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// AsListed returns a context for reading the version of the file that was
// listed.
func AsListed(ctx context.Context, info *ltx.FileInfo) context.Context {
	return clientio.WithVersion(ctx, view.VersionOf(info))
}

// versionCheck detects stores that return one version of a file in listings and
// another one in reads of the same file. Versions say nothing about the bytes
// that such a store returns.
type versionCheck struct {
	lists   atomic.Int64 // number of listings started
	suspect atomic.Pointer[suspectVersion]
	useless atomic.Bool
}

// suspectVersion is a version that a listing returned and a read did not
// confirm.
type suspectVersion struct {
	key     view.Key
	version string
	lists   int64 // number of listings started before the read
}

// mismatched records the error of a read.
func (c *versionCheck) mismatched(k view.Key, err error) {
	var other *clientio.OtherVersionError
	if errors.As(err, &other) {
		c.suspect.Store(&suspectVersion{k, other.Want, c.lists.Load()})
	}
}

// isUseless reports whether the n-th listing shows that versions are of no use.
// That is so if the listing returns the suspect version once more, although it
// started after the read that did not confirm that version.
func (c *versionCheck) isUseless(n int64, info *ltx.FileInfo, version string) bool {
	s := c.suspect.Load()
	return s != nil && n > s.lists && view.KeyOf(info) == s.key && version == s.version
}
