package litestream_test

import (
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/abs"
	_ "github.com/ltxvfs/litestream/gs"
	_ "github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/memory"
	_ "github.com/ltxvfs/litestream/nats"
	_ "github.com/ltxvfs/litestream/oss"
	_ "github.com/ltxvfs/litestream/s3"
	_ "github.com/ltxvfs/litestream/sftp"
	_ "github.com/ltxvfs/litestream/webdav"
)

// A URL with a part that would be ignored is an error in every store. The error
// shows nothing of the URL.
func TestReplicaURL_Malformed(t *testing.T) {
	const secret = "s3cr3t"
	for _, base := range []string{"s3://bucket/path", "gs://bucket/path", "abs://account@container/path", "sftp://user@host/path", "nats://host/bucket", "https://host/path", "webdavs://host/path", "oss://bucket/path", "file:///some/path", "file:some/path"} {
		if _, err := litestream.NewReplicaClientFromURL(base); err != nil {
			t.Errorf("%s: %v", base, err)
		}
		for _, rest := range []string{
			"?endpoint=http://minio:9000/%zz" + secret, "?endpoint=http://minio:9000;region=" + secret, "?endpoint=%", "?endpoint=http://minio:9000/%2",
			"?" + secret + ";", "?%zz", "?%zz=" + secret, "?=" + secret, "?&&=x", "?region", "?unknown=" + secret,
			"#" + secret, "?endpoint=http://minio:9000#" + secret, "%zz", "/%zz" + secret, "%00", "/a%00b",
			"?endpoint=http://a:1&endpoint=http://b:1" + secret, "?conditional-put=false%", "?part-size=" + secret, "?endpoint=http://u:" + secret + "@host",
		} {
			client, err := litestream.NewReplicaClientFromURL(base + rest)
			if err == nil {
				t.Errorf("%s%s: client %T, no error", base, rest, client)
			} else if strings.Contains(err.Error(), secret) {
				t.Errorf("%s%s: error shows it: %v", base, rest, err)
			}
		}
	}
	for _, rawURL := range []string{
		"file://user@localhost/path", "file://user:" + secret + "@/path", "file:///path?x=1", "file:///path?replica_url=file:///x", "file:path?endpoint=x",
		"s3://user:" + secret + "@bucket/path", "gs://user@bucket/path", "abs://account:" + secret + "@container/path", "sftp://user:" + secret + "@host", "sftp://host/path", "sftp:path",
		"", "path", "/path", "://", "s3:", "s3://", "gs:", "abs://", "nats:", "oss:", "oss://user:" + secret + "@bucket/path", "nats://host", "nats://user:" + secret + "@host", "file:", "file://", "FILE", "s3://b\x00/x", "s3://b/p\n", " s3://b/p",
	} {
		client, err := litestream.NewReplicaClientFromURL(rawURL)
		if err == nil {
			t.Errorf("%q: client %T, no error", rawURL, client)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: error shows it: %v", rawURL, err)
		}
	}
}

// An unknown parameter of the name of a replica is an error that says which one
// was meant. If SQLite takes a parameter of a replica_url for one of the file name,
// that does not lead to another replica.
func TestOpen_UnknownParameters(t *testing.T) {
	litestream.RegisterReplicaClientFactory("stray", func(_, _, _ string, _ url.Values, _ *url.Userinfo) (litestream.ReplicaClient, error) {
		return nil, fs.ErrInvalid
	})
	for _, tt := range []struct {
		params map[string]string
		want   string // "": no error
	}{
		{map[string]string{"replica_url": "stray://b/p?endpoint=http://minio:9000", "region": "eu-west-1"}, `"region"`},
		{map[string]string{"replica_url": "stray://b/p?part-size=1MiB", "endpoint": "http://gcs", "mode": "ro"}, `"endpoint"`},
		{map[string]string{"replica_url": "stray://b/p?endpoint=http://minio:9000", "": "x"}, `""`},
		{map[string]string{"replica_url": "stray://b/p?region=x", "mode": "ro", "vfs": "v", "cache": "private", "_txlock": "immediate", "poll_interval": "1s"}, ""},
		{map[string]string{"replica_url": "stray://b/p", "anything": "x"}, `"anything"`},
		{map[string]string{"replica_url": "stray://b/p", "cache_sise": "64MiB"}, `"cache_sise", did you mean "cache_size"?`},
		{map[string]string{"replica_url": "stray://b/p", "write_enable": "1"}, `"write_enable", did you mean "write_enabled"?`},
		{map[string]string{"replica_ur": "stray://b/p"}, `"replica_ur", did you mean "replica_url"?`},
		{map[string]string{"region": "x"}, `"region"`},
		{map[string]string{"region": "x", "local": "1"}, ""}, // a local file, whose parameters are none of ours
	} {
		vfs := litestream.NewVFS(nil, &litestream.Options{NewClient: func(string) (litestream.ReplicaClient, error) {
			if tt.params["local"] != "" {
				return nil, litestream.ErrLocalFile
			}
			return memory.NewReplicaClient(), nil
		}})
		text := ""
		if _, err := vfs.OpenConn("/app.db", tt.params, litestream.OpenMode{ReadOnly: true}); err != nil {
			text = err.Error()
		}
		if tt.want == "" && strings.Contains(text, "unknown parameter") || tt.want != "" && !strings.Contains(text, "unknown parameter "+tt.want) {
			t.Errorf("%v: %s", tt.params, text)
		}
	}
}
