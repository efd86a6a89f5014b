package gs_test

import (
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/replica"
)

// fields are those of a client that a URL can set.
type fields struct {
	Bucket, Path, Endpoint string
	PartSize               int64
}

func TestNewReplicaClientFromURL(t *testing.T) {
	for _, tt := range []struct {
		url  string
		want fields
		err  string
	}{
		{url: "gs://bucket", want: fields{Bucket: "bucket"}},
		{url: "gs://bucket/", want: fields{Bucket: "bucket"}},
		{url: "gs://my_bucket.example.com/a/b", want: fields{Bucket: "my_bucket.example.com", Path: "a/b"}},
		{url: "gs://bucket//a/./c/../b/", want: fields{Bucket: "bucket", Path: "a/b"}},
		{url: "gs://bucket/a%20b/%C3%BC", want: fields{Bucket: "bucket", Path: "a b/ü"}},
		{url: "gs://bucket/a?endpoint=http://127.0.0.1:4443", want: fields{Bucket: "bucket", Path: "a", Endpoint: "http://127.0.0.1:4443"}},
		{url: "gs://bucket/a?part-size=16777216", want: fields{Bucket: "bucket", Path: "a", PartSize: 16 << 20}},
		{url: "gs://bucket/a?part-size=16MiB", want: fields{Bucket: "bucket", Path: "a", PartSize: 16 << 20}},
		{url: "gs://bucket/a?part-size=5MB", want: fields{Bucket: "bucket", Path: "a", PartSize: 5e6}},
		{url: "gs:///a", err: "bucket"},
		{url: "gs:a", err: "bucket"},
		{url: "gs://bucket:80/a", err: "bucket"},
		{url: "gs://user:secret@bucket/a", err: "holds credentials"},
		{url: "gs://bucket/a?region=secret", err: `"region"`},
		{url: "gs://bucket/a?endpoint=", err: `"endpoint"`},
		{url: "gs://bucket/a?endpoint=http://a&endpoint=http://b", err: `"endpoint"`},
		{url: "gs://bucket/a?endpoint=secret:4443", err: `"endpoint"`},
		{url: "gs://bucket/a?endpoint=ftp://secret", err: `"endpoint"`},
		{url: "gs://bucket/a?endpoint=https://", err: `"endpoint"`},
		{url: "gs://bucket/a?endpoint=https://user:secret@host", err: `"endpoint"`},
		{url: "gs://bucket/a?endpoint=https://host?key%3Dsecret", err: `"endpoint"`},
		{url: "gs://bucket/a?endpoint=https://host:secret", err: `"endpoint"`},
		{url: "gs://bucket/a?part-size=0", err: `"part-size"`},
		{url: "gs://bucket/a?part-size=-1", err: `"part-size"`},
		{url: "gs://bucket/a?part-size=secret", err: `"part-size"`},
		{url: "gs://bucket/a?part-size=2GiB", err: `"part-size"`},
		{url: "gs://bucket/a?part-size=9223372036854775807GB", err: `"part-size"`},
	} {
		t.Run(tt.url, func(t *testing.T) {
			client, err := replica.NewFromURL(tt.url)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("got error %v, want one with %s and without values", err, tt.err)
				}
				if !errors.Is(err, fs.ErrInvalid) {
					t.Errorf("error is not fs.ErrInvalid: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c := client.(*gs.ReplicaClient)
			if got := (fields{c.Bucket, c.Path, c.Endpoint, c.PartSize}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestResolveEndpoint(t *testing.T) {
	for _, tt := range []struct {
		endpoint, env string
		want          string
		anonymous     bool
		err           string
	}{
		{},
		{endpoint: "https://a.example", want: "https://a.example/storage/v1/"},
		{endpoint: "https://a.example:4443/", want: "https://a.example:4443/storage/v1/"},
		{endpoint: "https://a.example/storage/v1", want: "https://a.example/storage/v1/"},
		{endpoint: "https://a.example/x/", want: "https://a.example/x/"},
		{endpoint: "http://a.example", want: "http://a.example/storage/v1/", anonymous: true},
		{endpoint: "https://a.example", env: "b:1", want: "https://a.example/storage/v1/"},
		{env: "b:1", want: "http://b:1/storage/v1/", anonymous: true},
		{env: "https://b:1/x", want: "https://b:1/storage/v1/", anonymous: true},
		{env: "http://user:secret@b", err: "STORAGE_EMULATOR_HOST"},
		{endpoint: "a.example", err: "endpoint"},
	} {
		t.Setenv("STORAGE_EMULATOR_HOST", tt.env)
		got, anonymous, err := gs.ResolveEndpoint(tt.endpoint)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%+v: got error %v", tt, err)
			}
			continue
		}
		if err != nil || got != tt.want || anonymous != tt.anonymous {
			t.Errorf("%+v: got %q, %v, %v", tt, got, anonymous, err)
		}
	}
}

// The environment variable of Google's own clients.
func TestEmulatorHost(t *testing.T) {
	bucket := newBucket(t)
	noCredentials(t)
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(emulator(t), "http://"))
	c := newClient(t, bucket.BucketName())
	c.Endpoint = ""
	for _, m := range methods[3:] { // write it, find it, delete it
		want := "none"
		if m.name == "CreateLTXFile" {
			want = "exists"
		}
		wantError(t, m.call(t.Context(), c, body(t, 1)), want)
	}
}

func FuzzNewReplicaClientFromURL(f *testing.F) {
	for _, s := range []string{"gs://bucket/a/b?part-size=1MiB", "gs://b?endpoint=http://h:1/x", "gs://u:p@b", "gs://[::1]:80/", "gs:a?%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "gs" {
			return
		}
		client, err := gs.NewReplicaClientFromURL(u.Scheme, u.Host, u.Path, u.Query(), u.User)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("error is not fs.ErrInvalid: %v", err)
			}
			return
		}
		c := client.(*gs.ReplicaClient)
		if c.Bucket == "" || strings.HasPrefix(c.Path, "/") || strings.HasSuffix(c.Path, "/") || c.PartSize < 0 || c.PartSize > 1<<31 {
			t.Errorf("bucket %q, path %q, part size %d", c.Bucket, c.Path, c.PartSize)
		}
	})
}
