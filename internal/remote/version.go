package remote

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// AsListed returns a context for reading the version of the file that was
// listed.
func AsListed(ctx context.Context, info *ltx.FileInfo) context.Context {
	return clientio.WithVersion(ctx, view.VersionOf(info))
}

// versionCheck detects stores whose listings and reads disagree: those that list
// a file with another version than they read it with, and those that do not find
// a file that they list. Versions of the former say nothing about the bytes that
// the store returns. The latter remember for a while that a name was missing.
type versionCheck struct {
	lists   atomic.Int64 // number of listings started
	suspect atomic.Pointer[suspectVersion]
	hidden  atomic.Pointer[suspectVersion]
	useless atomic.Bool
}

// suspectVersion is a version that a listing returned and a read did not
// confirm.
type suspectVersion struct {
	key     view.Key
	version string
	lists   int64 // number of listings started before the end of the read
}

// failed records the error of a read.
func (c *versionCheck) failed(ctx context.Context, k view.Key, err error) {
	var other *clientio.OtherVersionError
	switch want := clientio.Version(ctx); {
	case errors.As(err, &other):
		c.suspect.Store(&suspectVersion{k, other.Want, c.lists.Load()})
	case want != "" && errs.IsMissing(err):
		c.hidden.Store(&suspectVersion{k, want, c.lists.Load()})
	}
}

// isUseless reports whether the n-th listing shows that versions are of no use.
// That is so if the listing returns the suspect version once more, although it
// started after the read that did not confirm that version.
func (c *versionCheck) isUseless(n int64, info *ltx.FileInfo, version string) bool {
	return c.suspect.Load().isIn(n, info, version)
}

// isHidden reports whether the n-th listing shows a file that a read did not
// find, although one listing before the read has shown that file, too.
func (c *versionCheck) isHidden(n int64, info *ltx.FileInfo, version string) bool {
	return c.hidden.Load().isIn(n, info, version)
}

// isIn reports whether the n-th listing started after the read, and has the
// version.
func (s *suspectVersion) isIn(n int64, info *ltx.FileInfo, version string) bool {
	return s != nil && n > s.lists && view.KeyOf(info) == s.key && version == s.version
}
