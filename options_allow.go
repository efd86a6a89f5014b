package litestream

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// replicaURL is the parameter of a file name that contains the URL of the
// replica.
const replicaURL = "replica_url"

// allowParams asks AllowParameter about each parameter of a file name.
func (o Options) allowParams(params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if _, ok := findOption(name); !ok && name != replicaURL {
			continue
		}
		if err := o.allow(name, params[name]); err != nil {
			return err
		}
	}
	return nil
}

// allow asks AllowParameter about one parameter. The error does not contain the
// value, because a URL may contain secrets.
func (o Options) allow(name, value string) error {
	if o.AllowParameter == nil || o.AllowParameter(name, value) {
		return nil
	}
	return fmt.Errorf("parameter %s is not allowed: %w", name, errNotAllowed)
}

// errNotAllowed means that Options.AllowParameter rejected a request made by
// SQL.
var errNotAllowed = errors.New("refused by Options.AllowParameter")

// LocalFiles determines which names without a replica may be plain local files,
// for example in ATTACH and VACUUM INTO.
type LocalFiles int

const (
	AllLocalFiles      LocalFiles = iota // every name may be a local file; a new one is a warning in the log
	NoLocalFiles                         // no name may be one: the open fails
	ExistingLocalFiles                   // the names of files that exist may be; the open of a new one fails
)

var localFilesTexts = []string{AllLocalFiles: "all", NoLocalFiles: "none", ExistingLocalFiles: "existing"}

// String returns "all", "existing" or "none".
func (l LocalFiles) String() string {
	if l < 0 || int(l) >= len(localFilesTexts) {
		return fmt.Sprintf("LocalFiles(%d)", int(l))
	}
	return localFilesTexts[l]
}

// UnmarshalText accepts the texts that String returns.
func (l *LocalFiles) UnmarshalText(text []byte) error {
	i := slices.Index(localFilesTexts, string(text))
	if i < 0 {
		return fmt.Errorf("invalid value %q, want all, existing or none", text)
	}
	*l = LocalFiles(i)
	return nil
}
