package clientio

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/superfly/ltx"
)

// Layout says how an object store names the LTX files of a replica. Listed by
// name, files are in the order of level, MinTXID and MaxTXID.
type Layout struct {
	root  string // with a slash at the end
	level func(level int) string
}

// NewLayout returns the layout <path>/ltx/<level>/<name>, with a decimal
// level.
func NewLayout(replicaPath string) Layout {
	return Layout{root: path.Join(replicaPath, "ltx") + "/", level: strconv.Itoa}
}

// NewHexLayout returns the layout <path>/<level>/<name>, with a level of four
// hex digits. As upstream has it, the path is taken as it is, so that names
// begin with a slash where it is empty.
func NewHexLayout(replicaPath string) Layout {
	return Layout{root: replicaPath + "/", level: func(level int) string { return fmt.Sprintf("%04x", level) }}
}

// Key returns the name of a file.
func (l Layout) Key(level int, minTXID, maxTXID ltx.TXID) string {
	return l.Prefix(level) + ltx.FormatFilename(minTXID, maxTXID)
}

// Prefix returns what the names of all files of a level begin with.
func (l Layout) Prefix(level int) string { return l.root + l.level(level) + "/" }

// CommonPrefix returns what the names of all files of all levels begin with,
// and few others.
func (l Layout) CommonPrefix() string {
	return l.root + strings.TrimSuffix(l.level(0), "0")
}

// Seek returns a name between those of the files with MinTXID < seek and the
// others of the level.
func (l Layout) Seek(level int, seek ltx.TXID) string { return l.Prefix(level) + seek.String() }

// Parse takes a name apart. It refuses all that Key does not give.
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

// ParseName parses the name of an LTX file. It refuses TXIDs that no LTX
// header can have, and what FormatFilename does not give.
func ParseName(name string) (minTXID, maxTXID ltx.TXID, ok bool) {
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil || minTXID == 0 || minTXID > maxTXID || name != ltx.FormatFilename(minTXID, maxTXID) {
		return 0, 0, false
	}
	return minTXID, maxTXID, true
}
