package litestream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sqliteParams lists the parameters of file names that SQLite and its
// extensions know. Parameters of drivers begin with an underscore.
var sqliteParams = []string{"vfs", "mode", "cache", "psow", "nolock", "immutable", "modeof", "key", "hexkey", "textkey"}

// checkStrayParams returns an error for an unknown parameter of a file name
// whose replica_url has parameters of its own. The unknown parameter most likely
// belongs to replica_url, after an & that is not percent-encoded. SQLite ignores
// unknown parameters, so the VFS would look for the replica in the wrong place.
func checkStrayParams(params map[string]string) error {
	if !strings.Contains(params["replica_url"], "?") {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		_, ours := findOption(name)
		if !ours && name != "replica_url" && !strings.HasPrefix(name, "_") && !slices.Contains(sqliteParams, name) {
			return fmt.Errorf("unknown parameter %q behind a replica_url with parameters: write & as %%26 in replica_url", name)
		}
	}
	return nil
}
