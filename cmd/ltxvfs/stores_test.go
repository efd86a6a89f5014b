package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// Credentials for the servers of scripts/servers. Azurite's are public and the same
// everywhere.
const (
	s3Key, s3Secret = "testkey", "testsecret"

	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// startStores makes a bucket on each server, and returns the URLs of places in them,
// by store, and the environment in which they work.
func startStores(t *testing.T, dir string) (place map[string]func(name string) string, environment []string) {
	t.Helper()
	bucket := fmt.Sprintf("copies-%d", time.Now().UnixNano())
	endpoint := storetest.Server(t, "LITESTREAM_TEST_S3").String()
	_, err := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s3Key, s3Secret, ""),
	}).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	gcs := storetest.Server(t, "LITESTREAM_TEST_GCS").String()
	t.Setenv("STORAGE_EMULATOR_HOST", gcs)
	google, err := storage.NewClient(t.Context())
	if err == nil {
		err = errors.Join(google.Bucket(bucket).Create(t.Context(), "copies", nil), google.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	account := storetest.Server(t, "LITESTREAM_TEST_AZURE").JoinPath(azureAccount).String()
	credential, err := azblob.NewSharedKeyCredential(azureAccount, azureKey)
	if err != nil {
		t.Fatal(err)
	}
	azure, err := azblob.NewClientWithSharedKeyCredential(account, credential, nil)
	if err == nil {
		_, err = azure.CreateContainer(t.Context(), bucket, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return map[string]func(string) string{
			"file": func(name string) string { return "file://" + filepath.ToSlash(filepath.Join(dir, name)) },
			"s3":   func(name string) string { return "s3://" + bucket + "/" + name },
			"gs":   func(name string) string { return "gs://" + bucket + "/" + name },
			"abs": func(name string) string {
				return "abs://" + bucket + "/" + name + "?account=" + azureAccount + "&endpoint=" + account
			},
		}, []string{
			"AWS_ENDPOINT_URL_S3=" + endpoint, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + s3Key, "AWS_SECRET_ACCESS_KEY=" + s3Secret, "AWS_CA_BUNDLE=",
			"STORAGE_EMULATOR_HOST=" + gcs, "LITESTREAM_AZURE_SAS_TOKEN=", "LITESTREAM_AZURE_ACCOUNT_KEY=" + azureKey,
		}
}

// A replica is copied between any two kinds of stores, by processes of which some are
// killed, and comes back byte for byte and with its times. So does a fork within each
// store.
func TestCopy_Stores(t *testing.T) {
	dir := t.TempDir()
	place, environment := startStores(t, dir)
	p := newProgram(t, environment)
	fillFolder(t, dir)
	newDatabase(t, filepath.Join(p.dir, "source.db"))
	p.run("import", "source.db", place["file"]("large.db"))
	stores := []string{"file", "s3", "gs", "abs"}
	kills := testscale.Repeats(4)
	rng := rand.New(rand.NewPCG(1, 2))
	allKilled := 0
	for _, name := range []string{"app.db", "large.db"} {
		want := tree(t, filepath.Join(dir, name))
		for _, store := range stores[1:] {
			p.run("copy", "-q", place["file"](name), place[store](name))
		}
		for _, from := range stores {
			for _, to := range stores {
				if from == to {
					continue
				}
				target := place[to](name + "-from-" + from)
				killed := 0
				for range kills {
					ctx, cancel := context.WithCancel(t.Context())
					timer := time.AfterFunc(time.Duration(rng.Int64N(int64(400*time.Millisecond))), cancel)
					cmd := p.command("copy", "-q", place[from](name), target, "--concurrency", "2")
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended
					if cmd.Wait() != nil && ctx.Err() != nil {
						killed++
					}
					timer.Stop()
					stop()
					cancel()
				}
				allKilled += killed
				p.run("copy", "-q", place[from](name), target)
				back := "back-" + name + "-" + from + "-" + to
				p.run("copy", "-q", target, place["file"](back))
				if got := tree(t, filepath.Join(dir, back)); !maps.EqualFunc(got, want, ltxFile.equal) {
					t.Errorf("%s: %d files of %s came from %s, after %d kills, not as they were, want %d", name, len(got), to, from, killed, len(want))
				}
			}
		}
	}
	for _, store := range stores {
		printed := p.run("fork", "-q", "--json", place[store]("large.db"), place[store]("fork.db"))
		if inside := store == "file" || store == "s3"; strings.Contains(printed, `"inside":`) != inside {
			t.Errorf("a fork in %s prints %s", store, printed)
		}
		p.run("copy", "-q", place[store]("fork.db"), place["file"]("forked-"+store))
		if got := tree(t, filepath.Join(dir, "forked-"+store)); !maps.EqualFunc(got, tree(t, filepath.Join(dir, "large.db")), ltxFile.equal) {
			t.Errorf("the fork in %s has %d other files", store, len(got))
		}
	}
	if allKilled == 0 {
		t.Error("no copy was killed")
	}
	t.Logf("%d copies were killed", allKilled)
}

// ltxFile is a file with its time.
type ltxFile struct {
	body []byte
	at   time.Time
}

func (f ltxFile) equal(g ltxFile) bool { return bytes.Equal(f.body, g.body) && f.at.Equal(g.at) }

// tree returns the LTX files below a folder.
func tree(t testing.TB, dir string) map[string]ltxFile {
	t.Helper()
	files := map[string]ltxFile{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".ltx" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		body, err := os.ReadFile(path)
		name, rerr := filepath.Rel(dir, path)
		files[name] = ltxFile{body, info.ModTime()}
		return errors.Join(err, rerr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
