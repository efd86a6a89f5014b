package extension

import (
	"errors"
	"regexp"
	"strings"
)

// ErrUnreadURI means that a program gave SQLite a URI in the place of a file name,
// without having SQLite read URIs.
var ErrUnreadURI = errors.New("it is not read as a URI, since the program opens names without SQLITE_OPEN_URI")

// isUnreadURI reports whether SQLite made a path of a URI that it did not read as one.
// A path that it read from a URI has no question mark, unless that was escaped.
func isUnreadURI(path string) bool {
	before, _, hasParams := strings.Cut(path, "?")
	return hasParams && strings.Contains("/"+before, "/file:")
}

// user matches the scheme and the user of a replica URL in a path. SQLite may have
// taken one of its slashes.
var user = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]+:/+)[^/]*@`)

// ShownPath returns a path for a text, without what may be secret: the parameters of a
// URI that was not read as one, and the user of a URL that was given as a file name.
func ShownPath(path string) string {
	if before, params, _ := strings.Cut(path, "?"); strings.Contains(params, "=") {
		path = before + "?..."
	}
	return user.ReplaceAllString(path, "$1")
}
