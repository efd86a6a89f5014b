package openfiles

import (
	"regexp"
	"strings"
)

// user matches the scheme and the user of a replica URL in a path. SQLite may have
// taken one of its slashes.
var user = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]+:/+).*@`)

// Shown returns a path for a text, without what may be secret: the parameters of a
// URI that was not read as one, and the user of a URL that was given as a file name.
func Shown(path string) string {
	if before, params, _ := strings.Cut(path, "?"); strings.Contains(params, "=") {
		path = before + "?..."
	}
	return user.ReplaceAllString(path, "$1")
}
