package clientio

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/superfly/ltx"
)

// A version names the current content of a file, like an ETag. A listing
// reports the version of each file to the function that its context carries. A
// read whose context carries a version returns the bytes of that version only.
type (
	versionKey   struct{}
	noterKey     struct{}
	readNoterKey struct{}
)

// WithVersionNoter returns a context for a listing. The listing calls fn for
// each item whose version is known, before Next returns true for the item.
func WithVersionNoter(ctx context.Context, fn func(info *ltx.FileInfo, version string)) context.Context {
	return context.WithValue(ctx, noterKey{}, fn)
}

// NoteVersion reports the version of an item of a listing to the function of
// the listing's context. It does not report an empty version.
func NoteVersion(ctx context.Context, info *ltx.FileInfo, version string) {
	if fn, ok := ctx.Value(noterKey{}).(func(*ltx.FileInfo, string)); ok && version != "" {
		fn(info, version)
	}
}

// WithVersion returns a context for reading a file in the version that a
// listing has reported.
func WithVersion(ctx context.Context, version string) context.Context {
	return context.WithValue(ctx, versionKey{}, version)
}

// Version returns the version that a read has to return. It is empty if the
// read may return any version.
func Version(ctx context.Context) string {
	version, _ := ctx.Value(versionKey{}).(string)
	return version
}

// WithReadNoter returns a context for a read. The read calls fn with the version
// that it reads, if the store tells it, before OpenLTXFile returns.
func WithReadNoter(ctx context.Context, fn func(version string)) context.Context {
	return context.WithValue(ctx, readNoterKey{}, fn)
}

// UsesVersion reports whether a read with this context has to know the version of
// the file: it has to return a certain one, or to report which one it returns.
func UsesVersion(ctx context.Context) bool {
	return Version(ctx) != "" || ctx.Value(readNoterKey{}) != nil
}

// IsSameVersion compares two versions. Quotes do not count: some services put
// them around an ETag in some answers only.
func IsSameVersion(v, w string) bool { return strings.Trim(v, `"`) == strings.Trim(w, `"`) }

// OtherVersionError means that the version of a file that was asked for no
// longer exists, because the file has another version now. It is
// fs.ErrNotExist.
type OtherVersionError struct {
	Want, Got string
}

func (e *OtherVersionError) Error() string {
	return fmt.Sprintf("file was replaced: it has version %.80s, not %.80s", e.Got, e.Want)
}

// Unwrap returns fs.ErrNotExist.
func (*OtherVersionError) Unwrap() error { return fs.ErrNotExist }

// CheckVersion returns an error if a file has another version than the context
// asks for. An empty version matches every version. It reports the version to the
// function of the read's context.
func CheckVersion(ctx context.Context, got string) error {
	if fn, ok := ctx.Value(readNoterKey{}).(func(string)); ok && got != "" {
		fn(got)
	}
	want := Version(ctx)
	if want == "" || got == "" || IsSameVersion(got, want) {
		return nil
	}
	return &OtherVersionError{Want: want, Got: got}
}
