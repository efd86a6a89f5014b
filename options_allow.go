package litestream

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// replicaURL is the parameter of a file name that says where the replica is.
const replicaURL = "replica_url"

// allowParams asks AllowParameter about the parameters of a file name.
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

// allow asks AllowParameter. The error has no value: that of a URL may be secret.
func (o Options) allow(name, value string) error {
	if o.AllowParameter == nil || o.AllowParameter(name, value) {
		return nil
	}
	return fmt.Errorf("parameter %s is not allowed: %w", name, errNotAllowed)
}

// errNotAllowed means that Options forbid what SQL asks for.
var errNotAllowed = errors.New("refused by Options.AllowParameter")

// LocalFiles says which names that have no replica may be plain local files,
// in ATTACH and VACUUM INTO, for example.
type LocalFiles int

const (
	AllLocalFiles LocalFiles = iota // all of them
	NoLocalFiles                    // none: opening one fails
)

var localFilesTexts = []string{AllLocalFiles: "all", NoLocalFiles: "none"}

// String returns all or none.
func (l LocalFiles) String() string {
	if l < 0 || int(l) >= len(localFilesTexts) {
		return fmt.Sprintf("LocalFiles(%d)", int(l))
	}
	return localFilesTexts[l]
}

// UnmarshalText takes what String returns.
func (l *LocalFiles) UnmarshalText(text []byte) error {
	i := slices.Index(localFilesTexts, string(text))
	if i < 0 {
		return fmt.Errorf("invalid value %q, want all or none", text)
	}
	*l = LocalFiles(i)
	return nil
}
