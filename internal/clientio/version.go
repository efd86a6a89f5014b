package clientio

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/superfly/ltx"
)

// A version names the content that a file has now, like an ETag. A listing
// tells the version of each file to the function that its context carries; a
// read whose context carries a version gives the bytes of that version only.
type (
	versionKey struct{}
	noterKey   struct{}
)

// WithVersionNoter returns a context for a listing, which calls fn with each
// item whose version is known, before Next returns true for it.
func WithVersionNoter(ctx context.Context, fn func(info *ltx.FileInfo, version string)) context.Context {
	return context.WithValue(ctx, noterKey{}, fn)
}

// NoteVersion tells the version of an item of a listing to the noter of its
// context. An empty version says nothing.
func NoteVersion(ctx context.Context, info *ltx.FileInfo, version string) {
	if fn, ok := ctx.Value(noterKey{}).(func(*ltx.FileInfo, string)); ok && version != "" {
		fn(info, version)
	}
}

// WithVersion returns a context for reading a file in the version that a
// listing told.
func WithVersion(ctx context.Context, version string) context.Context {
	return context.WithValue(ctx, versionKey{}, version)
}

// Version returns the version that a read is to be of. It is empty if any
// will do.
func Version(ctx context.Context) string {
	version, _ := ctx.Value(versionKey{}).(string)
	return version
}

// OtherVersionError means that a file has another version than that which was
// asked for, which no longer exists. It is fs.ErrNotExist.
type OtherVersionError struct {
	Want, Got string
}

func (e *OtherVersionError) Error() string {
	return fmt.Sprintf("file was replaced: it has version %.80s, not %.80s", e.Got, e.Want)
}

// Unwrap returns fs.ErrNotExist.
func (*OtherVersionError) Unwrap() error { return fs.ErrNotExist }

// CheckVersion returns an error if a file has another version than that which
// the context asks for. An empty version says nothing. Quotes, which some
// services put around ETags in some answers only, do not count.
func CheckVersion(ctx context.Context, got string) error {
	want := Version(ctx)
	if want == "" || got == "" || strings.Trim(got, `"`) == strings.Trim(want, `"`) {
		return nil
	}
	return &OtherVersionError{Want: want, Got: got}
}
