package s3_test

import (
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/replica"
	_ "github.com/ltxvfs/litestream/s3"
)

func TestReplicaIdentity(t *testing.T) {
	for _, name := range []string{"LITESTREAM_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	identity := func(url string) string {
		t.Helper()
		client, err := replica.NewFromURL(url)
		if err != nil {
			t.Fatal(err)
		}
		id := client.(replica.Identifier).ReplicaIdentity()
		if strings.Contains(id, "secret") {
			t.Errorf("the identity of %s is %s", url, id)
		}
		return id
	}
	for url, want := range map[string]string{
		"s3://b/p":                                   "s3://b/p",
		"s3://b/p/":                                  "s3://b/p",
		"s3://b/p?region=eu-west-1":                  "s3://b/p",
		"s3://b.s3.eu-west-1.amazonaws.com/p":        "s3://b/p",
		"s3://b.MinIO:9000/p":                        "s3://b/p?endpoint=minio:9000",
		"s3://b/p?endpoint=http://minio:9000":        "s3://b/p?endpoint=minio:9000",
		"s3://b/p?endpoint=https://minio:9000/":      "s3://b/p?endpoint=minio:9000",
		"s3://b/p?endpoint=http://other:9000/prefix": "s3://b/p?endpoint=other:9000/prefix",
	} {
		if got := identity(url); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://minio:9000")
	if got := identity("s3://b/p"); got != "s3://b/p?endpoint=minio:9000" {
		t.Errorf("with an endpoint in the environment: %s", got)
	}
}
