package s3

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// service describes how a service differs from AWS.
type service struct {
	name string

	// host matches the service's endpoints, with or without a bucket in front.
	// Its groups are bucket, endpoint and, if the endpoint contains it, region.
	host *regexp.Regexp

	region           string // if host has no such group
	pathStyle        bool
	partSize         int // 0: the default
	concurrency      int // 0: the default
	noContentMD5     bool
	singleDeletes    bool
	noConditionalPut bool
	headers          map[string]string // sent with every request
}

// services are the services that are recognised by their hosts. None of them is
// sure to accept unsigned bodies, so bodies are signed unless the user decides
// otherwise.
var services = []service{
	{name: "AWS", host: hostPattern(`s3\.(?:dualstack\.)?(?P<region>[a-z]{2}[a-z0-9-]*-\d+)\.amazonaws\.com(?:\.cn)?`)},
	{name: "AWS, anywhere", host: hostPattern(`s3\.amazonaws\.com`)},
	{
		name: "Cloudflare R2", host: hostPattern(`[0-9a-z]+(?:\.(?:eu|fedramp))?\.r2\.cloudflarestorage\.com`),
		region: "auto", concurrency: 2, // it refuses many requests at the same time
	},
	{
		name: "Tigris", host: hostPattern(`(?:fly\.storage\.tigris\.dev|t3\.storage\.dev|t3\.storageapi\.dev)`),
		region: "auto", partSize: 16 << 20, concurrency: 2, noContentMD5: true,
		headers: map[string]string{"X-Tigris-Consistent": "true"}, // without it reads may return old content
	},
	{name: "Backblaze B2", host: hostPattern(`s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com`), pathStyle: true},
	{name: "DigitalOcean Spaces", host: hostPattern(`(?P<region>[a-z0-9]+)\.digitaloceanspaces\.com`)},
	{name: "Hetzner", host: hostPattern(`(?P<region>[a-z0-9]+)\.your-objectstorage\.com`)},
	{name: "Supabase", host: hostPattern(`[a-z0-9]+(?:\.storage)?\.supabase\.co`), region: defaultRegion, pathStyle: true},
	{name: "Wasabi", host: hostPattern(`s3\.(?P<region>[a-z]{2}-[a-z]+-\d+(?:-[a-z]+)?)\.wasabisys\.com`)},
	{name: "Wasabi, us-east-1", host: hostPattern(`s3\.wasabisys\.com`), region: defaultRegion},
	{name: "Scaleway", host: hostPattern(`s3\.(?P<region>[a-z0-9-]+)\.scw\.cloud`)},
	{name: "Filebase", host: hostPattern(`s3\.filebase\.(?:com|io)`), region: defaultRegion, pathStyle: true},
	{name: "Neon", host: hostPattern(`br-[^.]+\.storage\.[^.]+\.(?P<region>[^.]+)\.[^.]+\.neon\.tech`), pathStyle: true},
	{
		// Its XML API has no batches of deletions. Its conditional puts need a
		// header that requests signed for S3 must not have.
		name: "Google Cloud Storage", host: hostPattern(`storage(?:\.[a-z0-9-]+\.rep)?\.googleapis\.com`),
		region: "auto", pathStyle: true, singleDeletes: true, noConditionalPut: true,
	},
}

// hostPattern returns a pattern for the hosts of an endpoint, with or without
// the name of a bucket in front.
func hostPattern(endpoint string) *regexp.Regexp {
	return regexp.MustCompile(`^(?:(?P<bucket>.+?)\.)??(?P<endpoint>` + endpoint + `)$`)
}

// findService returns the service of a host without a port, and the place that
// the host names.
func findService(host string) (svc service, bucket, endpoint, region string, ok bool) {
	for _, svc := range services {
		m := svc.host.FindStringSubmatch(host)
		if m == nil {
			continue
		}
		region = svc.region
		if i := svc.host.SubexpIndex("region"); i >= 0 {
			region = m[i]
		}
		return svc, m[svc.host.SubexpIndex("bucket")], m[svc.host.SubexpIndex("endpoint")], region, true
	}
	return service{}, "", "", "", false
}

// endpoint is the address of a service. The zero value is AWS.
type endpoint struct {
	url       string // without a slash at its end
	host      string // without port
	region    string // not empty if there is a url
	pathStyle bool
	service   service
}

func (e endpoint) plain() bool { return strings.HasPrefix(e.url, "http://") }

func (e endpoint) local() bool { return isLocal(e.host) }

// newEndpoint parses an address like https://host:port/path, with or without
// the scheme. Errors do not show the address, which may contain a password.
func newEndpoint(address string) (endpoint, error) {
	if address == "" {
		return endpoint{}, nil
	}
	invalid := func(what string) (endpoint, error) {
		return endpoint{}, clientio.Invalid("endpoint %s", what)
	}
	if !strings.Contains(address, "://") {
		address = "//" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "":
		return invalid("is no address like https://host:port")
	case u.User != nil, strings.Contains(u.Path, "@"): // a password with a slash ends in the path
		return invalid("has user information")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return invalid("has a query or a fragment")
	}
	host := strings.ToLower(u.Hostname())
	if u.Scheme == "" {
		u.Scheme = "https"
		if isLocal(host) {
			u.Scheme = "http"
		}
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return invalid("has a scheme other than http and https")
	}
	u.Host = strings.ToLower(u.Host)
	u.Path = strings.TrimSuffix(u.Path, "/")
	e := endpoint{url: u.String(), host: host, region: defaultRegion, pathStyle: u.Port() != "" || isIP(host)}
	if svc, _, _, region, ok := findService(host); ok {
		e.service, e.pathStyle = svc, svc.pathStyle
		if region != "" {
			e.region = region
		}
	}
	return e, nil
}

// location is the place that the host of a URL names.
type location struct {
	bucket   string
	region   string // may be empty
	endpoint string // empty: AWS
}

// parseHost parses the host of an s3 URL: a bucket, or a bucket with the host
// of a service, or a bucket with a host and a port.
func parseHost(hostport string) (location, error) {
	host, port := hostport, ""
	if h, p, err := net.SplitHostPort(hostport); err == nil {
		host, port = h, p
	}
	host = strings.TrimSuffix(host, ".")
	if svc, bucket, endpoint, region, ok := findService(strings.ToLower(host)); ok {
		if bucket == "" {
			return location{}, errors.New("url has the host of " + svc.name + " without a bucket: want s3://bucket.host/path")
		}
		if strings.HasPrefix(svc.name, "AWS") && port == "" {
			return location{bucket: bucket, region: region}, nil
		}
		if port != "" {
			endpoint = net.JoinHostPort(endpoint, port)
		}
		return location{bucket: bucket, region: region, endpoint: "https://" + endpoint}, nil
	}
	if port == "" {
		return location{bucket: host}, nil
	}
	bucket, rest, ok := strings.Cut(host, ".")
	if !ok || bucket == "" || rest == "" || isIP(host) {
		return location{}, errors.New("url has a host and a port without a bucket: want s3://bucket.host:port/path")
	}
	scheme := "http://"
	if port == "443" {
		scheme = "https://"
	}
	return location{bucket: bucket, region: defaultRegion, endpoint: scheme + net.JoinHostPort(rest, port)}, nil
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// isLocal reports whether a host usually has no TLS: this machine, or a host of
// a private network.
func isLocal(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local")
}
