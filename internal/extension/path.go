package extension

import (
	"errors"
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
