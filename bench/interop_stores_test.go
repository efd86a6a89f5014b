package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	upstreamlib "github.com/benbjohnson/litestream"
	upstreamabs "github.com/benbjohnson/litestream/abs"
	upstreamgs "github.com/benbjohnson/litestream/gs"
	upstreamnats "github.com/benbjohnson/litestream/nats"
	upstreamoss "github.com/benbjohnson/litestream/oss"
	upstreams3 "github.com/benbjohnson/litestream/s3"
	upstreamsftp "github.com/benbjohnson/litestream/sftp"
	upstreamwebdav "github.com/benbjohnson/litestream/webdav"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/superfly/ltx"
	"golang.org/x/crypto/ssh"
	dav "golang.org/x/net/webdav"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/storetest/sftptest"
	"github.com/ltxvfs/litestream/nats"
	"github.com/ltxvfs/litestream/oss"
	"github.com/ltxvfs/litestream/s3"
	"github.com/ltxvfs/litestream/sftp"
	"github.com/ltxvfs/litestream/webdav"
)

// interopClient is the common interface of our clients of object stores.
type interopClient interface {
	litestream.ReplicaClient
	Close() error
}

// connectFunc returns upstream's client and our client for a path.
type connectFunc func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient)

// interopStores lists the stores for which both have clients. Each function
// creates a bucket on the server, or skips the test if there is no server.
var interopStores = []struct {
	name    string
	connect func(*testing.T) connectFunc
}{
	{"s3", connectS3},
	{"gcs", connectGCS},
	{"azure", connectAzure},
	{"sftp", connectSFTP},
	{"nats", connectNATS},
	{"oss", connectOSS},
	{"webdav", connectWebDAV},
}

// Credentials for the servers of scripts/servers. Azurite's credentials are
// public and the same everywhere.
const (
	s3Key, s3Secret, s3Region = "testkey", "testsecret", "us-east-1"

	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

func newBucketName() string { return fmt.Sprintf("interop-%d", time.Now().UnixNano()) }

func connectS3(t *testing.T) connectFunc {
	endpoint, bucket := storetest.Server(t, "LITESTREAM_TEST_S3").String(), newBucketName()
	t.Setenv("AWS_CA_BUNDLE", "") // upstream's client does not start with one
	admin := awss3.New(awss3.Options{
		Region: s3Region, BaseEndpoint: &endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s3Key, s3Secret, ""),
	})
	if _, err := admin.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient) {
		theirs := upstreams3.NewReplicaClient()
		theirs.AccessKeyID, theirs.SecretAccessKey, theirs.Region = s3Key, s3Secret, s3Region
		theirs.Endpoint, theirs.Bucket, theirs.Path, theirs.ForcePathStyle = endpoint, bucket, path, true
		our := s3.NewReplicaClient()
		our.AccessKeyID, our.SecretAccessKey, our.Region = s3Key, s3Secret, s3Region
		our.Endpoint, our.Bucket, our.Path, our.ForcePathStyle = endpoint, bucket, path, true
		our.Logger = testLogger(t)
		return theirs, closeAfter(t, our)
	}
}

func connectGCS(t *testing.T) connectFunc {
	server, bucket := storetest.Server(t, "LITESTREAM_TEST_GCS"), newBucketName()
	t.Setenv("STORAGE_EMULATOR_HOST", server.String()) // upstream provides no other way
	admin, err := storage.NewClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Bucket(bucket).Create(t.Context(), "interop", nil); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient) {
		theirs := upstreamgs.NewReplicaClient()
		theirs.Bucket, theirs.Path = bucket, path
		our := gs.NewReplicaClient()
		our.Bucket, our.Path = bucket, path
		return theirs, closeAfter(t, our)
	}
}

func connectAzure(t *testing.T) connectFunc {
	endpoint, bucket := storetest.Server(t, "LITESTREAM_TEST_AZURE").JoinPath(azureAccount).String(), newBucketName()
	t.Setenv("LITESTREAM_AZURE_SAS_TOKEN", "") // it would take precedence over the key
	credential, err := azblob.NewSharedKeyCredential(azureAccount, azureKey)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := azblob.NewClientWithSharedKeyCredential(endpoint, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateContainer(t.Context(), bucket, nil); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient) {
		theirs := upstreamabs.NewReplicaClient()
		theirs.AccountName, theirs.AccountKey = azureAccount, azureKey
		theirs.Endpoint, theirs.Bucket, theirs.Path = endpoint, bucket, path
		our := abs.NewReplicaClient()
		our.AccountName, our.AccountKey = azureAccount, azureKey
		our.Endpoint, our.Bucket, our.Path = endpoint, bucket, path
		return theirs, closeAfter(t, our)
	}
}

func connectOSS(t *testing.T) connectFunc {
	service := storetest.NewOSS()
	service.Set(nil)
	srv := httptest.NewServer(service)
	t.Cleanup(srv.Close)
	return func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient) {
		theirs := upstreamoss.NewReplicaClient()
		theirs.AccessKeyID, theirs.AccessKeySecret = "testkey", "testsecret"
		theirs.Endpoint, theirs.Bucket, theirs.Path = srv.URL, storetest.Bucket, path
		our := oss.NewReplicaClient()
		our.AccessKeyID, our.AccessKeySecret = "testkey", "testsecret"
		our.Endpoint, our.Bucket, our.Path = srv.URL, storetest.Bucket, path
		return theirs, closeAfter(t, our)
	}
}

func connectNATS(t *testing.T) connectFunc {
	server, bucket := storetest.Server(t, "LITESTREAM_TEST_NATS").String(), newBucketName()
	nc, err := natsgo.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient) {
		theirs := upstreamnats.NewReplicaClient()
		theirs.URL, theirs.BucketName, theirs.Path = server, bucket, path
		t.Cleanup(func() {
			if err := theirs.Close(); err != nil {
				t.Error(err)
			}
		})
		our := nats.NewReplicaClient()
		our.URL, our.BucketName, our.Path = server, bucket, path
		return theirs, closeAfter(t, our)
	}
}

func connectSFTP(t *testing.T) connectFunc {
	server, root := sftptest.New(t), t.TempDir()
	key := string(ssh.MarshalAuthorizedKey(server.HostKey))
	return func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient) {
		path = filepath.Join(root, path)
		theirs := upstreamsftp.NewReplicaClient()
		theirs.Host, theirs.User, theirs.Password, theirs.HostKey = server.Addr, sftptest.User, sftptest.Password, key
		theirs.Path = path
		our := sftp.NewReplicaClient()
		our.Host, our.User, our.Password, our.HostKey = server.Addr, sftptest.User, sftptest.Password, key
		our.Path = path
		return exactUpstream{theirs}, exactTimes{closeAfter(t, our)}
	}
}

func connectWebDAV(t *testing.T) connectFunc {
	server := httptest.NewServer(&dav.Handler{FileSystem: dav.Dir(t.TempDir()), LockSystem: dav.NewMemLS()})
	t.Cleanup(server.Close)
	return func(t *testing.T, path string) (upstreamlib.ReplicaClient, interopClient) {
		theirs := upstreamwebdav.NewReplicaClient()
		theirs.URL, theirs.Path = server.URL, "/"+path
		our := webdav.NewReplicaClient()
		our.URL, our.Path = server.URL, "/"+path
		return theirs, closeAfter(t, our)
	}
}

// exactTimes is a client of a store that keeps whole seconds. Its listings have the
// times of the headers, after it has compared both.
type exactTimes struct{ interopClient }

func (c exactTimes) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	itr, err := c.interopClient.LTXFiles(ctx, level, seek, useMetadata)
	if err != nil {
		return nil, err
	}
	return withExactTimes(ctx, itr, c.OpenLTXFile)
}

// exactUpstream is exactTimes for a client of upstream's.
type exactUpstream struct{ upstreamlib.ReplicaClient }

func (c exactUpstream) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	itr, err := c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
	if err != nil {
		return nil, err
	}
	return withExactTimes(ctx, itr, c.OpenLTXFile)
}

type openFunc func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)

// withExactTimes returns the items of a listing with the times of their headers.
func withExactTimes(ctx context.Context, itr ltx.FileIterator, open openFunc) (ltx.FileIterator, error) {
	infos, err := ltx.SliceFileIterator(itr)
	if err != nil {
		return nil, err
	}
	infos = slices.Clone(infos)
	for i, info := range infos {
		body, err := open(ctx, info.Level, info.MinTXID, info.MaxTXID, 0, ltx.HeaderSize)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		} else if err != nil {
			return nil, err
		}
		hdr, _, err := ltx.PeekHeader(body)
		if err := errors.Join(err, body.Close()); err != nil {
			return nil, err
		}
		exact := *info
		exact.CreatedAt = time.UnixMilli(hdr.Timestamp).UTC()
		if !exact.CreatedAt.Truncate(time.Second).Equal(info.CreatedAt) {
			return nil, fmt.Errorf("%s is of %s, and is listed with %s", fileName(info), exact.CreatedAt, info.CreatedAt)
		}
		infos[i] = &exact
	}
	return ltx.NewFileInfoSliceIterator(infos), nil
}

// closeAfter closes a client when the test ends.
func closeAfter(t *testing.T, client interopClient) interopClient {
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}
