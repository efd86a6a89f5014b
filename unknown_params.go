package litestream

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream/internal/nearest"
)

// sqliteParams lists the parameters of file names that SQLite and its
// extensions know. Parameters of drivers begin with an underscore.
var sqliteParams = []string{"vfs", "mode", "cache", "psow", "nolock", "immutable", "modeof", "key", "hexkey", "textkey"}

// checkUnknownParams returns an error for an unknown parameter of the name of a
// replica. SQLite ignores these, but a parameter that is misspelt would silently do
// nothing. If replica_url has parameters of its own, an unknown parameter most
// likely belongs to it, after an & that is not percent-encoded, and the VFS would
// look for the replica in the wrong place.
func checkUnknownParams(params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		_, ours := findOption(name)
		if ours || name == replicaURL || strings.HasPrefix(name, "_") || slices.Contains(sqliteParams, name) {
			continue
		}
		meant := nearest.Of(name, slices.Concat(OptionNames(), []string{replicaURL}, sqliteParams))
		switch hasParams := strings.Contains(params[replicaURL], "?"); {
		case meant != "" && hasParams:
			return fmt.Errorf("unknown parameter %q, did you mean %q? If it belongs to replica_url, write & as %%26 in replica_url", name, meant)
		case meant != "":
			return fmt.Errorf("unknown parameter %q, did you mean %q?", name, meant)
		case hasParams:
			return fmt.Errorf("unknown parameter %q behind a replica_url with parameters: write & as %%26 in replica_url", name)
		}
		return fmt.Errorf("unknown parameter %q", name)
	}
	return nil
}
