// Package extension has what the loadable extension decides for itself: which
// settings the environment has, which file names are replicas, and where the log goes.
// It knows nothing of C.
package extension

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream"
)

// Variables of the environment that are not options of a database.
const (
	ReplicaURL = "LITESTREAM_REPLICA_URL"
	DefaultVFS = "LITESTREAM_DEFAULT_VFS"
	LogLevel   = "LITESTREAM_LOG_LEVEL"
	LogFile    = "LITESTREAM_LOG_FILE"

	prefix = "LITESTREAM_"
)

// Environment is a process environment. An empty variable is as good as none.
type Environment map[string]string

// Check returns an error that names a malformed variable, of those that the
// extension reads.
func (e Environment) Check() error {
	if url := e[ReplicaURL]; url != "" {
		if _, err := litestream.NewReplicaClientFromURL(url); err != nil {
			return fmt.Errorf("%s: %w", ReplicaURL, err)
		}
	}
	if _, err := e.IsDefaultVFS(); err != nil {
		return err
	}
	_, err := e.Params(nil)
	return err
}

// IsDefaultVFS tells whether SQLite is to use the extension where a file name
// does not say which VFS to use.
func (e Environment) IsDefaultVFS() (bool, error) {
	s := e[DefaultVFS]
	if s == "" {
		return false, nil
	}
	is, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%s: invalid value %q, want true or false", DefaultVFS, s)
	}
	return is, nil
}

// Params returns the parameters of a file name, with those added that the
// environment has and the name has not. A path for hydration enables it, if
// nothing says otherwise.
func (e Environment) Params(params map[string]string) (map[string]string, error) {
	all := make(map[string]string)
	for _, name := range litestream.OptionNames() {
		variable := prefix + strings.ToUpper(name)
		value := e[variable]
		if value == "" {
			continue
		}
		if err := new(litestream.Options).Set(name, value); err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		all[name] = value
	}
	maps.Copy(all, params)
	if _, said := all["hydration_enabled"]; !said && all["hydration_path"] != "" {
		all["hydration_enabled"] = "true"
	}
	return all, nil
}
