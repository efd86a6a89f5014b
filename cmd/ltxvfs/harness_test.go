package main

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
)

// The test binary is the program itself if it is run under that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ltxvfs": main})
}

// fixtures are the replicas that tests use, by their names, with the folders of
// testdata that they come from. Files of a later folder replace those of an earlier
// one.
var fixtures = map[string][]string{
	"app.db":           {"compacted"},
	"tenants/a/app.db": {"sandwiches"},
	"damaged.db":       {"broken/base", "broken/flipped-literal"},
}

// fill writes the fixtures below a URL.
func fill(t testing.TB, base string, open func(url string) replica.Client) {
	t.Helper()
	ctx := context.Background()
	for name, dirs := range fixtures {
		to := open(base + "/" + name)
		for _, dir := range dirs {
			from := file.NewReplicaClient("../../testdata/replicas/" + dir)
			for level := range replica.SnapshotLevel + 1 {
				itr, err := from.LTXFiles(ctx, level, 0, false)
				if err != nil {
					t.Fatal(err)
				}
				for itr.Next() {
					copyFile(ctx, t, from, to, itr.Item())
				}
				if err := itr.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func copyFile(ctx context.Context, t testing.TB, from, to replica.Client, f *ltx.FileInfo) {
	t.Helper()
	r, err := from.OpenLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := to.WriteLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, r); err != nil {
		t.Fatal(err)
	}
}

// startS3 starts an S3 server with the fixtures, and returns the environment in
// which s3://bucket is on it.
func startS3(t testing.TB) (environment []string) {
	t.Helper()
	_, environment = startS3Service(t)
	return environment
}

// startS3Service is startS3, and returns the service.
func startS3Service(t testing.TB) (service storetest.Service, environment []string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	service = storetest.NewS3()
	service.Set(nil)
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	fill(t, "s3://"+storetest.Bucket, func(url string) replica.Client {
		c, err := replica.NewFromURL(url + "?endpoint=" + server.URL + "&region=eu-west-1")
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
	return service, environmentOf(server.URL)
}

// environmentOf returns the environment in which s3://bucket is on a server.
func environmentOf(endpoint string) []string {
	return []string{
		"AWS_ENDPOINT_URL_S3=" + endpoint, "AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_EC2_METADATA_DISABLED=true", "NO_PROXY=127.0.0.1",
	}
}

// fillFolder writes the fixtures to a folder, and returns its URL.
func fillFolder(t testing.TB, dir string) string {
	t.Helper()
	base := "file://" + filepath.ToSlash(dir)
	fill(t, base, func(url string) replica.Client { return file.NewReplicaClient(strings.TrimPrefix(url, "file://")) })
	return base
}
