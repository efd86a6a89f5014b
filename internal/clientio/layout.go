package clientio

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/superfly/ltx"
)

// Layout says how an object store names the LTX files of a replica. In the
// order of their names, files are in order of level, MinTXID and MaxTXID.
type Layout struct {
	place string // the path of the replica with a slash at the end, or empty
	root  string // with a slash at the end
	level func(level int) string
}

// NewLayout returns the layout <path>/ltx/<level>/<name>, with a decimal
// level.
func NewLayout(replicaPath string) Layout {
	return Layout{place: placeOf(path.Join(replicaPath)), root: path.Join(replicaPath, "ltx") + "/", level: strconv.Itoa}
}

// NewHexLayout returns the layout <path>/<level>/<name>, with a level of four
// hex digits. Upstream does not clean the path, so neither does this: the names
// of an empty path begin with a slash.
func NewHexLayout(replicaPath string) Layout {
	return Layout{place: placeOf(replicaPath), root: replicaPath + "/", level: func(level int) string { return fmt.Sprintf("%04x", level) }}
}

// placeOf returns the text that the names of everything below a path begin with.
func placeOf(replicaPath string) string {
	if replicaPath == "" {
		return ""
	}
	return replicaPath + "/"
}

// Below returns the name of an object directly below the place of the replica, which
// is no LTX file.
func (l Layout) Below(name string) string { return l.place + name }

// Key returns the name of a file.
func (l Layout) Key(level int, minTXID, maxTXID ltx.TXID) string {
	return l.Prefix(level) + ltx.FormatFilename(minTXID, maxTXID)
}

// Prefix returns the text that the names of all files of a level begin with.
func (l Layout) Prefix(level int) string { return l.root + l.level(level) + "/" }

// CommonPrefix returns the text that the names of all files of all levels begin
// with. Few other names do.
func (l Layout) CommonPrefix() string {
	return l.root + strings.TrimSuffix(l.level(0), "0")
}

// Seek returns the position for a listing that begins at seek. It sorts after the
// names of the level's files with MinTXID < seek, and before the names of its
// other files.
func (l Layout) Seek(level int, seek ltx.TXID) string { return l.Prefix(level) + seek.String() }

// Parse splits a name into its parts. It accepts only names that Key returns.
func (l Layout) Parse(key string) (level int, minTXID, maxTXID ltx.TXID, ok bool) {
	rest, ok := strings.CutPrefix(key, l.root)
	if !ok {
		return 0, 0, 0, false
	}
	dir, name, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, 0, false
	}
	for level := range MaxLevel + 1 {
		if dir == l.level(level) {
			minTXID, maxTXID, ok = ParseName(name)
			return level, minTXID, maxTXID, ok
		}
	}
	return 0, 0, 0, false
}

// ParseName parses the name of an LTX file. It accepts only names that
// FormatFilename returns, with TXIDs that an LTX header can have.
func ParseName(name string) (minTXID, maxTXID ltx.TXID, ok bool) {
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil || minTXID == 0 || minTXID > maxTXID || name != ltx.FormatFilename(minTXID, maxTXID) {
		return 0, 0, false
	}
	return minTXID, maxTXID, true
}
