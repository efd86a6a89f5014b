package file

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/ltxvfs/litestream/replica"
)

// ReplicaClientType is the URL scheme of the package.
const ReplicaClientType = "file"

func init() { replica.Register(ReplicaClientType, NewReplicaClientFromURL) }

// NewReplicaClientFromURL makes a client from the parts of a URL like
//
//	file:///absolute/path
//	file:relative/path
//	file://relative/path
//
// The host of the last form, which is the first folder of the path, may be any
// but localhost: file://localhost/path is absolute. A user and a parameter are
// errors.
func NewReplicaClientFromURL(_, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	switch {
	case userinfo != nil:
		return nil, errors.New("a file url has no user")
	case len(query) > 0:
		return nil, fmt.Errorf("a file url has no parameters, not %q: write ? in a path as %%3F", slices.Min(slices.Collect(maps.Keys(query))))
	case host != "" && host != "localhost":
		urlPath = host + urlPath
	case urlPath == "":
		return nil, errors.New("a file url needs a path")
	}
	return NewReplicaClient(urlPath), nil
}
