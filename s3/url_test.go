package s3_test

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/s3"
)

func fromURL(t testing.TB, rawURL string) *s3.ReplicaClient {
	t.Helper()
	c, err := replica.NewFromURL(rawURL)
	if err != nil {
		t.Fatalf("%s: %v", rawURL, err)
	}
	return c.(*s3.ReplicaClient)
}

const r2 = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"

// Each service as it is found in a URL: before a slash, the bucket's host; and
// as a parameter.
func TestServices(t *testing.T) {
	noEnvironment(t)
	usual := s3.Resolved{PartSize: 8 << 20, Concurrency: 5, Credentials: "the client's AccessKeyID"}
	at := func(endpoint, region string, pathStyle bool, change ...func(*s3.Resolved)) s3.Resolved {
		r := usual
		r.Endpoint, r.Region, r.PathStyle = endpoint, region, pathStyle
		for _, f := range change {
			f(&r)
		}
		return r
	}
	isR2 := func(r *s3.Resolved) { r.Concurrency = 2 }
	isTigris := func(r *s3.Resolved) { r.Concurrency, r.PartSize = 2, 16<<20 }
	isGoogle := func(r *s3.Resolved) { r.SingleDeletes, r.NoConditionalPut = true, true }
	for _, tt := range []struct {
		url  string
		want s3.Resolved
	}{
		{"s3://b/p?region=eu-west-1", at("", "eu-west-1", false)},
		{"s3://b.s3.eu-west-1.amazonaws.com/p", at("", "eu-west-1", false)},
		{"s3://b.s3.dualstack.us-gov-west-1.amazonaws.com/p", at("", "us-gov-west-1", false)},
		{"s3://b.s3.cn-north-1.amazonaws.com.cn/p", at("", "cn-north-1", false)},
		{"s3://b/p?region=eu-west-1&force-path-style=true", at("", "eu-west-1", true)},
		{"s3://b/p?endpoint=s3.eu-west-2.amazonaws.com", at("https://s3.eu-west-2.amazonaws.com", "eu-west-2", true)},

		{"s3://b." + r2 + "/p", at("https://"+r2, "auto", false, isR2)},
		{"s3://b." + strings.Replace(r2, ".", ".eu.", 1) + "/p", at("https://"+strings.Replace(r2, ".", ".eu.", 1), "auto", false, isR2)},
		{"s3://b/p?endpoint=https://" + r2, at("https://"+r2, "auto", true, isR2)},
		{"s3://b/p?concurrency=7&endpoint=" + r2, at("https://"+r2, "auto", true, isR2, func(r *s3.Resolved) { r.Concurrency = 7 })},
		{"s3://b.fly.storage.tigris.dev/p", at("https://fly.storage.tigris.dev", "auto", false, isTigris)},
		{"s3://b/p?endpoint=t3.storage.dev", at("https://t3.storage.dev", "auto", true, isTigris)},
		{"s3://b.s3.us-west-004.backblazeb2.com/p", at("https://s3.us-west-004.backblazeb2.com", "us-west-004", true)},
		{"s3://b/p?endpoint=s3.us-west-004.backblazeb2.com", at("https://s3.us-west-004.backblazeb2.com", "us-west-004", true)},
		{"s3://b.fra1.digitaloceanspaces.com/p", at("https://fra1.digitaloceanspaces.com", "fra1", false)},
		{"s3://b/p?endpoint=https://fra1.digitaloceanspaces.com&force-path-style=false", at("https://fra1.digitaloceanspaces.com", "fra1", false)},
		{"s3://b.minio:9000/p", at("http://minio:9000", "us-east-1", true)},
		{"s3://b.127.0.0.1:9000/p", at("http://127.0.0.1:9000", "us-east-1", true)},
		{"s3://b.minio.example.com:443/p", at("https://minio.example.com:443", "us-east-1", true)},
		{"s3://b/p?endpoint=localhost:9000", at("http://localhost:9000", "us-east-1", true)},
		{"s3://b/p?endpoint=192.168.1.9", at("http://192.168.1.9", "us-east-1", true)},
		{"s3://b/p?endpoint=minio.example.com:9000&region=x", at("https://minio.example.com:9000", "x", true)},
		{"s3://b/p?endpoint=minio.example.com:9000&force-path-style=false", at("https://minio.example.com:9000", "us-east-1", false)},
		{"s3://b.fsn1.your-objectstorage.com/p", at("https://fsn1.your-objectstorage.com", "fsn1", false)},
		{"s3://b/p?endpoint=https://fsn1.your-objectstorage.com", at("https://fsn1.your-objectstorage.com", "fsn1", true)},
		{
			"s3://b/p?endpoint=https://ref.storage.supabase.co/storage/v1/s3&region=eu-central-1",
			at("https://ref.storage.supabase.co/storage/v1/s3", "eu-central-1", true),
		},
		{"s3://b.s3.ap-northeast-1-ntt.wasabisys.com/p", at("https://s3.ap-northeast-1-ntt.wasabisys.com", "ap-northeast-1-ntt", false)},
		{"s3://b.s3.wasabisys.com/p", at("https://s3.wasabisys.com", "us-east-1", false)},
		{"s3://b/p?endpoint=s3.eu-central-2.wasabisys.com", at("https://s3.eu-central-2.wasabisys.com", "eu-central-2", true)},
		{"s3://b.s3.fr-par.scw.cloud/p", at("https://s3.fr-par.scw.cloud", "fr-par", false)},
		{"s3://b/p?endpoint=s3.fr-par.scw.cloud", at("https://s3.fr-par.scw.cloud", "fr-par", true)},
		{"s3://b.s3.filebase.com/p", at("https://s3.filebase.com", "us-east-1", true)},
		{"s3://b/p?endpoint=s3.filebase.com", at("https://s3.filebase.com", "us-east-1", true)},
		{"s3://b.storage.googleapis.com/p", at("https://storage.googleapis.com", "auto", true, isGoogle)},
		{"s3://b/p?endpoint=https://storage.googleapis.com", at("https://storage.googleapis.com", "auto", true, isGoogle)},
		{
			"s3://b.br-a-1.storage.c-6.us-east-2.aws.neon.tech/p",
			at("https://br-a-1.storage.c-6.us-east-2.aws.neon.tech", "us-east-2", true),
		},
		{"s3:arn:aws:s3:us-west-1:123456789012:accesspoint/b/p", at("", "us-west-1", false)},
	} {
		t.Run(tt.url, func(t *testing.T) {
			c := fromURL(t, tt.url)
			c.AccessKeyID, c.SecretAccessKey = "key", "secret"
			if strings.TrimPrefix(c.Bucket, "arn:aws:s3:us-west-1:123456789012:accesspoint/") != "b" || c.Path != "p" {
				t.Errorf("bucket %q, path %q", c.Bucket, c.Path)
			}
			got, err := s3.Resolve(t.Context(), c)
			if err != nil || got != tt.want {
				t.Errorf("got  %+v, %v,\nwant %+v", got, err, tt.want)
			}
		})
	}

	// The same without a URL.
	c := s3.NewReplicaClient()
	c.AccessKeyID, c.SecretAccessKey, c.Bucket, c.Endpoint = "key", "secret", "b", "https://"+r2
	if got, err := s3.Resolve(t.Context(), c); err != nil || got != at("https://"+r2, "auto", false, isR2) {
		t.Errorf("field: %+v, %v", got, err)
	}
}

// What an access point's ARN, given as a host, has upstream's factory do.
func TestURL_ARNAsHost(t *testing.T) {
	const arn = "arn:aws:s3:us-west-1:123456789012:accesspoint/name"
	for _, path := range []string{"/a/b", "a/b"} {
		c, err := s3.NewReplicaClientFromURL("s3", arn, path, nil, nil)
		if err != nil || c.(*s3.ReplicaClient).Bucket != arn || c.(*s3.ReplicaClient).Path != "a/b" {
			t.Errorf("%s: %+v, %v", path, c, err)
		}
	}
}

func TestURL_Parameters(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	query := url.Values{
		"sign-payload": {"false"}, "requireContentMD5": {"0"}, "putObjectContentMD5": {"yes"}, "conditional-put": {"no"}, "skipVerify": {"T"},
		"part-size": {"6000000"}, "concurrency": {"3"}, "metadata-concurrency": {"9"}, "storageClass": {"STANDARD_IA"},
		"sse-customer-key": {key}, "sseCustomerKeyMD5": {"x"}, "sseCustomerAlgorithm": {"AES256"}, "sign-accept-encoding": {"false"},
	}
	c := fromURL(t, "s3://b/"+"/x/../a//b/?"+query.Encode())
	if c.SignPayload || c.RequireContentMD5 || !c.PutObjectContentMD5 || !c.NoConditionalPut || !c.SkipVerify || c.PartSize != 6000000 ||
		c.Concurrency != 3 || c.MetadataConcurrency != 9 || c.StorageClass != "STANDARD_IA" || c.SSECustomerKey != key ||
		c.SSECustomerKeyMD5 != "x" || c.SSECustomerAlgorithm != "AES256" || c.Path != "a/b" || c.Bucket != "b" {
		t.Errorf("got %+v", c)
	}
	for query, want := range map[string]bool{
		"signAcceptEncoding=false&sign-payload=yes": true, "SignAcceptEncoding=true&SignPayload=on": true, "sign-accept-encoding=no&signPayload=1": true,
		"SIGN-PAYLOAD=off": false, "SignPayload=No": false, "signpayload=F": false,
	} {
		if c := fromURL(t, "s3://b/p?"+query); c.SignPayload != want {
			t.Errorf("%s: SignPayload is %v", query, c.SignPayload)
		}
	}
	if c := fromURL(t, "s3://b?sseKmsKeyId=k"); c.SSEKMSKeyID != "k" || c.Path != "" || !c.SignPayload || !c.RequireContentMD5 {
		t.Errorf("got %+v", c)
	}
}

const inURL = "s3cr3t/value"

func TestURL_Errors(t *testing.T) {
	esc := url.QueryEscape(inURL)
	for rawURL, want := range map[string]string{
		"s3://":                                             "bucket is not set",
		"s3:///path":                                        "bucket is not set",
		"s3://-b/path":                                      "bucket name",
		"s3://b c/path":                                     "not percent-encoded",
		"s3://user:" + esc + "@b/p":                         "url has a user",
		"s3://s3.wasabisys.com/p":                           "without a bucket",
		"s3://fra1.digitaloceanspaces.com/p":                "DigitalOcean Spaces without a bucket",
		"s3://localhost:9000/p":                             "without a bucket",
		"s3://127.0.0.1:9000/p":                             "without a bucket",
		"s3://[::1]:9000/p":                                 "without a bucket",
		"s3:arn:aws:s3:eu-west-1:1:b/p":                     "ARN",
		"s3:arn:aws:s3:r:1:accesspoint/":                    "ARN",
		"s3:arn:%20:accesspoint/0":                          "ARN",
		"s3://b/p?endpoint=user/word@h":                     "user information",
		"s3:arn:aws:s3:r:1:accesspoint/n%3Fx/p":             "ARN",
		"s3:arn:aws:s3:r%40h:1:accesspoint/n/p":             "ARN",
		"s3://b/p?bukket=" + esc:                            `unknown parameter "bukket"`,
		"s3://b/p?region=":                                  "parameter region is empty",
		"s3://b/p?region=a&region=b":                        "parameter region is there more than once",
		"s3://b/p?part-size=6000000&partSize=6000000":       "parameter part-size is there more than once",
		"s3://b/p?PartSize=6000000&partSize=6000000":        "parameter part-size is there more than once",
		"s3://b/p?SignAcceptEncoding=" + esc:                "parameter sign-accept-encoding is neither true nor false",
		"s3://b/p?part-size=" + esc:                         "parameter part-size is no size",
		"s3://b/p?part-size=1000":                           "part size is below 5 MiB",
		"s3://b/p?concurrency=0":                            "parameter concurrency is no positive number",
		"s3://b/p?concurrency=9223372036854775807":          "parameter concurrency is no positive number up to 1000",
		"s3://b/p?metadata-concurrency=1001":                "parameter metadata-concurrency is no positive number up to 1000",
		"s3://b/p?metadata-concurrency=9223372036854775808": "parameter metadata-concurrency is no positive number up to 1000",
		"s3://b/p?part-size=9223372036854775807":            "part size is above 5 GiB",
		"s3://b/p?part-size=9223372036854775807GiB":         "parameter part-size is no size",
		"s3://b/p?skip-verify=" + esc:                       "parameter skip-verify is neither true nor false",
		"s3://b/p?conditional-put=" + esc:                   "parameter conditional-put is neither true nor false",
		"s3://b/p?endpoint=ftp://host":                      "scheme other than http",
		"s3://b/p?endpoint=https://u:s3cr3t@host":           "endpoint has user information",
		"s3://b/p?endpoint=https://host/%3Fx=" + esc:        "endpoint has a query",
		"s3://b/p?endpoint=https://:1/":                     "endpoint is no address",
		"s3://b/p?endpoint=%25zz" + esc:                     "endpoint is no address",
	} {
		_, err := replica.NewFromURL(rawURL)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), inURL) || strings.Contains(err.Error(), esc) {
			t.Errorf("%s: got %v, want %q", rawURL, err, want)
		}
	}
}

// What only Init can see is an error of Init, which can be called again.
func TestInit_Errors(t *testing.T) {
	noEnvironment(t)
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for want, set := range map[string]func(*s3.ReplicaClient){
		"bucket is not set":       func(c *s3.ReplicaClient) { c.Bucket = "" },
		"path begins":             func(c *s3.ReplicaClient) { c.Path = "/a" },
		"SkipVerify":              func(c *s3.ReplicaClient) { c.SkipVerify, c.Transport = true, http.DefaultTransport },
		"below 5 MiB":             func(c *s3.ReplicaClient) { c.PartSize = -1 },
		"concurrency is negative": func(c *s3.ReplicaClient) { c.Concurrency = -1 },
		"concurrency is above":    func(c *s3.ReplicaClient) { c.Concurrency = math.MaxInt },
		"above 1000":              func(c *s3.ReplicaClient) { c.MetadataConcurrency = 1001 },
		"above 5 GiB":             func(c *s3.ReplicaClient) { c.PartSize = math.MaxInt64 },
		"without the other":       func(c *s3.ReplicaClient) { c.SecretAccessKey = "" },
		"32 bytes in base64":      func(c *s3.ReplicaClient) { c.SSECustomerKey = key[:20] },
		"without a key":           func(c *s3.ReplicaClient) { c.SSECustomerAlgorithm = "AES256" },
		"is not AES256":           func(c *s3.ReplicaClient) { c.SSECustomerKey, c.SSECustomerAlgorithm = key, "DES" },
		"md5 is not that":         func(c *s3.ReplicaClient) { c.SSECustomerKey, c.SSECustomerKeyMD5 = key, "x" },
		"without tls":             func(c *s3.ReplicaClient) { c.SSECustomerKey, c.Endpoint = key, "http://example.com" },
		"both sse customer key":   func(c *s3.ReplicaClient) { c.SSECustomerKey, c.SSEKMSKeyID = key, "k" },
		"endpoint has a scheme":   func(c *s3.ReplicaClient) { c.Endpoint = "gopher://example.com" },
		"bucket name has":         func(c *s3.ReplicaClient) { c.Bucket = "a@b" },
		"bucket is an ARN":        func(c *s3.ReplicaClient) { c.Bucket = "arn:aws:s3:r:1:accesspoint/n/p" },
	} {
		c := s3.NewReplicaClient()
		c.AccessKeyID, c.SecretAccessKey, c.Bucket, c.Region = "key", inURL, "b", "us-east-1"
		set(c)
		err := c.Init(t.Context())
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), inURL) || strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want %q", err, want)
		}
		if again := c.Init(t.Context()); again == nil {
			t.Errorf("%q: no error the second time", want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{
		"s3://b/p", "s3://b." + r2 + "/p?region=x", "s3:arn:aws:s3:r:1:accesspoint/n/p", "s3://b.h:9000/p?endpoint=https://u@h&part-size=5",
		"s3://İ.s3.wasabisys.com/", "s3://b/p?endpoint=http://[::1]:1/x", "s3://b.s3.us-east-1.amazonaws.com:443",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		client, err := replica.NewFromURL(rawURL)
		c, ok := client.(*s3.ReplicaClient)
		if err != nil || !ok {
			return
		}
		if c.Bucket == "" || strings.ContainsAny(c.Bucket, "?#@ ") || strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/") {
			t.Errorf("bucket %q, path %q", c.Bucket, c.Path)
		}
		if c.Endpoint != "" && strings.ContainsAny(c.Endpoint, "@?#") {
			t.Errorf("endpoint %q", c.Endpoint)
		}
	})
}
