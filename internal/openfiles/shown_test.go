package openfiles_test

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/openfiles"
)

// TestShown checks that paths that contain credentials are shown without them, and
// others as they are.
func TestShown(t *testing.T) {
	for path, want := range map[string]string{
		"/x/app.db":            "/x/app.db",
		"/x/what?.db":          "/x/what?.db",
		"/x/me@work/c:/app.db": "/x/me@work/c:/app.db",
		"/x/file:app.db?vfs=litestream&replica_url=sftp%3A%2F%2Fu%3Asecret%40h": "/x/file:app.db?...",
		"/x/file:app.db?replica_url=sftp:/u:secret@h/db?host_key=a":             "/x/file:app.db?...",
		"/x/app.db?replica_url=s3:/b?secret_access_key=secret":                  "/x/app.db?...",
		"/x/sftp:/u:secret@h/db":               "/x/sftp:/h/db",
		"/x/sftp:/u:se/cret@h/db":              "/x/sftp:/h/db",
		"sftp://u:secr@et@h/db":                "sftp://h/db",
		"/x/s3:/b/db?secret_access_key=secret": "/x/s3:/b/db?...",
		"":                                     "",
	} {
		if got := openfiles.Shown(path); got != want {
			t.Errorf("%q is shown as %q, want %q", path, got, want)
		}
	}
}
