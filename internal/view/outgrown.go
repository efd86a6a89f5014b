package view

import "github.com/superfly/ltx"

// A snapshot is outgrown if the files above it are together larger than it is,
// and than outgrownLeast, or more than outgrownMost. No snapshot is larger than
// the one before and the files above that together, so all snapshots together
// are at most twice as large as what was written. An open reads the indexes of at
// most outgrownMost files.
const (
	outgrownLeast = 1 << 20 // bytes
	outgrownMost  = 1000    // files
)

// IsOutgrown reports whether the first file of a plan from nothing, which is a
// whole database, is outgrown.
func IsOutgrown(plan []*ltx.FileInfo) bool {
	if len(plan) < 2 {
		return false
	}
	above := int64(0)
	for _, f := range plan[1:] {
		above += f.Size
	}
	return above > max(plan[0].Size, outgrownLeast) || len(plan)-1 > outgrownMost
}
