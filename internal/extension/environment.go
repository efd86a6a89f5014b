// Package extension has what the loadable extension decides for itself: which
// settings the environment has, which file names are replicas, and where the log goes.
// It knows nothing of C.
package extension

import (
	"fmt"
	"maps"
	"slices"
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

	// URIParameters lists the parameters that a file name may set.
	URIParameters = "LITESTREAM_URI_PARAMETERS"

	// LocalFiles says whether names without a replica may be local files.
	LocalFiles = "LITESTREAM_LOCAL_FILES"

	prefix = "LITESTREAM_"
)

// Environment is a process environment. An empty variable is as good as none, but for
// URIParameters: an empty list is one.
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
	if _, _, err := e.uriParameters(); err != nil {
		return err
	}
	if _, err := e.localFiles(); err != nil {
		return err
	}
	_, err := e.Params(nil)
	return err
}

// replicaURL is the parameter of a file name that says where the replica is.
const replicaURL = "replica_url"

// uriParameters returns the list of URIParameters. Restricted is false if there is none.
func (e Environment) uriParameters() (names []string, restricted bool, err error) {
	list, restricted := e[URIParameters]
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
		case name != replicaURL && !slices.Contains(litestream.OptionNames(), name):
			return nil, true, fmt.Errorf("%s: unknown parameter %q, want a list like replica_url,cache_size", URIParameters, name)
		default:
			names = append(names, name)
		}
	}
	return names, restricted, nil
}

// Allow returns an error if SQL may not set one of some parameters.
func (e Environment) Allow(params map[string]string) error {
	allowed, restricted, err := e.uriParameters()
	if err != nil || !restricted {
		return err
	}
	for _, name := range append(litestream.OptionNames(), replicaURL) {
		if _, given := params[name]; given && !slices.Contains(allowed, name) {
			return fmt.Errorf("parameter %s is not allowed: %s does not list it", name, URIParameters)
		}
	}
	return nil
}

// ParameterOf returns the parameter that sets what a PRAGMA sets. Ok is false if there is none.
func ParameterOf(pragma string) (name string, ok bool) {
	return "write_enabled", strings.EqualFold(pragma, "litestream_write_enabled")
}

// localFiles returns which names without a replica may be local files.
func (e Environment) localFiles() (l litestream.LocalFiles, err error) {
	if s := e[LocalFiles]; s != "" {
		if err = l.UnmarshalText([]byte(s)); err != nil {
			return l, fmt.Errorf("%s: %w", LocalFiles, err)
		}
	}
	return l, nil
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
