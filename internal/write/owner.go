package write

import (
	"fmt"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

// isSameOwner reports whether a write buffer of one owner may be used for another.
// The identities of their replicas decide if both are known, because a database
// may be opened by several names.
func isSameOwner(a, b commitlog.Owner) bool {
	switch {
	case a == commitlog.Owner{} || b == commitlog.Owner{}:
		return true // an older version did not record the owner
	case a.Replica != "" && b.Replica != "":
		return a.Replica == b.Replica
	}
	return a.Name == b.Name
}

// describeOwner returns the description of a database for errors.
func describeOwner(o commitlog.Owner) string {
	if o.Replica == "" {
		return fmt.Sprintf("database %s", o.Name)
	}
	return fmt.Sprintf("database %s of replica %s", o.Name, o.Replica)
}
