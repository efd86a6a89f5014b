// Package extension is the part of the loadable extension that needs no C: the
// settings in the environment, the file names that are replicas, and the place of
// the log.
package extension

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/booltext"
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

// Environment is a process environment. An empty variable counts as one that is
// not set, except URIParameters: if that is empty, no parameter is allowed.
type Environment map[string]string

// Check returns an error that names the first variable of the extension that is
// malformed.
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

// uriParameters returns the list of URIParameters. Restricted is false if the
// variable is not set, and then every parameter is allowed.
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

// Allow returns an error that names a parameter in params that SQL may not set.
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

// ParameterOf returns the parameter that sets the same option as a PRAGMA. Ok is
// false if there is none.
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

// IsDefaultVFS reports whether SQLite uses the extension for file names that do
// not name a VFS.
func (e Environment) IsDefaultVFS() (bool, error) {
	s := e[DefaultVFS]
	if s == "" {
		return false, nil
	}
	is, err := booltext.Parse(s)
	if err != nil {
		return false, fmt.Errorf("%s: %w", DefaultVFS, err)
	}
	return is, nil
}

// Params returns the parameters of a file name and adds the options that are set
// in the environment only. If hydration_path or hydration_mode is set and
// hydration_enabled is not, it adds hydration_enabled=true.
func (e Environment) Params(params map[string]string) (map[string]string, error) {
	all := make(map[string]string)
	for _, name := range litestream.OptionNames() {
		variable := prefix + strings.ToUpper(name)
		value := e[variable]
		if value == "" {
			continue
		}
		if err := new(litestream.Options).Set(name, value); err != nil {
			return nil, fmt.Errorf("%s: %w", variable, cmp.Or(errors.Unwrap(err), err)) // the variable in the place of the option
		}
		all[name] = value
	}
	maps.Copy(all, params)
	if _, said := all["hydration_enabled"]; !said && (all["hydration_path"] != "" || all["hydration_mode"] != "") {
		all["hydration_enabled"] = "true"
	}
	return all, nil
}
