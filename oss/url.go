package oss

import (
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/bytesize"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// hosts matches the host of a bucket, with the name of the bucket and the region.
var hosts = regexp.MustCompile(`^(?:([^.]+)\.)?oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com$`)

// parameters are the parameters of a URL.
var parameters = []string{"concurrency", "endpoint", "metadata-concurrency", "part-size", "region"}

// NewReplicaClientFromURL makes a client from the parts of a URL
//
//	oss://bucket.oss-eu-central-1.aliyuncs.com/path
//	oss://bucket/path?region=eu-central-1
//
// The host may be the internal one of a region. The parameters endpoint, region,
// part-size, concurrency and metadata-concurrency set the fields of these names. A
// size may have a unit, as in 16MiB. NewReplicaClientFromURL does no I/O, and its
// errors do not quote values.
func NewReplicaClientFromURL(scheme, host, urlPath string, query url.Values, userinfo *url.Userinfo) (replica.Client, error) {
	if scheme != ReplicaClientType {
		return nil, clientio.Invalid("url scheme is not %s", ReplicaClientType)
	}
	if userinfo != nil {
		return nil, clientio.Invalid("url holds credentials, set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET instead")
	}
	c := NewReplicaClient()
	c.Bucket = host
	if m := hosts.FindStringSubmatch(host); m != nil {
		c.Bucket, c.Region, c.Internal = m[1], m[2], m[3] != ""
	}
	if c.Bucket == "" {
		return nil, clientio.Invalid("url has no bucket, want one like oss://bucket.oss-eu-central-1.aliyuncs.com/path")
	}
	c.Path = strings.TrimPrefix(path.Clean("/"+urlPath), "/")
	if err := clientio.SetParameters(query, c.setParameter); err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *ReplicaClient) setParameter(name, value string) error {
	invalid := func(what string) error { return clientio.Invalid("url parameter %q is not %s", name, what) }
	var err error
	switch name {
	case "endpoint":
		c.Endpoint = value
	case "region":
		c.Region = value
	case "part-size":
		if c.PartSize, err = bytesize.Parse(value); err != nil || c.PartSize < minPartSize || c.PartSize > maxPartSize {
			return invalid("a size from 100KiB to 5GiB")
		}
	case "concurrency", "metadata-concurrency":
		n, err := strconv.Atoi(value)
		if err != nil || n <= 0 || n > maxConcurrency {
			return invalid("a number from 1 to 1000")
		}
		if name == "concurrency" {
			c.Concurrency = n
		} else {
			c.MetadataConcurrency = n
		}
	default:
		return clientio.UnknownParameter(name, parameters)
	}
	return nil
}
