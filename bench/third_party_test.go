package main

import (
	upstreamabs "github.com/benbjohnson/litestream/abs"
	upstreamfile "github.com/benbjohnson/litestream/file"
	upstreamgs "github.com/benbjohnson/litestream/gs"
	upstreamnats "github.com/benbjohnson/litestream/nats"
	upstreamoss "github.com/benbjohnson/litestream/oss"
	upstreams3 "github.com/benbjohnson/litestream/s3"
	upstreamsftp "github.com/benbjohnson/litestream/sftp"
	upstreamwebdav "github.com/benbjohnson/litestream/webdav"

	"github.com/ltxvfs/litestream"
)

// thirdPartyClient is the part of our interface that a client not made for this
// library needs.
type thirdPartyClient interface {
	litestream.ReplicaClient
	litestream.Initializer
}

// Every client of upstream's satisfies our interface without an adapter.
// examples/nats uses one.
var (
	_ thirdPartyClient = (*upstreamabs.ReplicaClient)(nil)
	_ thirdPartyClient = (*upstreamfile.ReplicaClient)(nil)
	_ thirdPartyClient = (*upstreamgs.ReplicaClient)(nil)
	_ thirdPartyClient = (*upstreamnats.ReplicaClient)(nil)
	_ thirdPartyClient = (*upstreamoss.ReplicaClient)(nil)
	_ thirdPartyClient = (*upstreams3.ReplicaClient)(nil)
	_ thirdPartyClient = (*upstreamsftp.ReplicaClient)(nil)
	_ thirdPartyClient = (*upstreamwebdav.ReplicaClient)(nil)
)
