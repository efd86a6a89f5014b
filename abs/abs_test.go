package abs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

// What everybody knows of the emulator.
const (
	account    = "devstoreaccount1"
	accountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

const replicaPath = "some/app.db"

// server returns the URL of the emulator.
func server(t testing.TB) *url.URL {
	t.Helper()
	return storetest.Server(t, "LITESTREAM_TEST_AZURE")
}

// newContainer makes a container until the test ends.
func newContainer(t testing.TB) *container.Client {
	t.Helper()
	key, err := azblob.NewSharedKeyCredential(account, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClientWithSharedKeyCredential(server(t).JoinPath(account, "t-"+random(t)).String(), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := client.Delete(context.Background(), nil); err != nil {
			t.Error(err)
		}
	})
	return client
}

func random(t testing.TB) string {
	t.Helper()
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b[:])
}

// bucketOf returns the name of a container.
func bucketOf(t testing.TB, c *container.Client) string {
	t.Helper()
	parts, err := sas.ParseURL(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	return parts.ContainerName
}

// keyClient returns a client of a container with the account's key.
func keyClient(t testing.TB, bucket string) *abs.ReplicaClient {
	t.Helper()
	c := abs.NewReplicaClient()
	c.AccountName, c.AccountKey = account, accountKey
	c.Endpoint = server(t).JoinPath(account).String()
	c.Bucket, c.Path = bucket, replicaPath
	t.Cleanup(func() { c.Close() })
	return c
}

// newClient returns a client of an empty replica.
func newClient(t testing.TB) *abs.ReplicaClient {
	t.Helper()
	return keyClient(t, bucketOf(t, newContainer(t)))
}

// accountSAS returns a signature for the account.
func accountSAS(t testing.TB, permissions sas.AccountPermissions, from, to time.Time) string {
	t.Helper()
	key, err := azblob.NewSharedKeyCredential(account, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	query, err := sas.AccountSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, StartTime: from.UTC(), ExpiryTime: to.UTC(),
		Permissions: permissions.String(), ResourceTypes: (&sas.AccountResourceTypes{Container: true, Object: true}).String(),
	}.SignWithSharedKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return query.Encode()
}

// containerSAS returns a signature for a container.
func containerSAS(t testing.TB, bucket string, permissions sas.ContainerPermissions, to time.Time) string {
	t.Helper()
	key, err := azblob.NewSharedKeyCredential(account, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	query, err := sas.BlobSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, ExpiryTime: to.UTC(), ContainerName: bucket, Permissions: permissions.String(),
	}.SignWithSharedKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return query.Encode()
}

// withSAS returns a client as c, but with a signature instead of the key.
func withSAS(t testing.TB, c *abs.ReplicaClient, token string) *abs.ReplicaClient {
	t.Helper()
	d := abs.NewReplicaClient()
	d.SASToken, d.Endpoint, d.Bucket, d.Path = token, c.Endpoint, c.Bucket, c.Path
	t.Cleanup(func() { d.Close() })
	return d
}

// properties has the suite look at a replica from outside.
func properties() replicatest.Properties {
	return replicatest.Properties{
		LargeBody: 1 << 20, // four parts of those below
		ManyFiles: 600,     // more than a page of those below
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			client := c.(*abs.ReplicaClient)
			place(t, client, clientio.NewLayout(client.Path).Prefix(level)+name, body)
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			client := c.(*abs.ReplicaClient)
			place(t, client, path.Join(client.Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			client := c.(*abs.ReplicaClient)
			d := abs.NewReplicaClient()
			d.AccountName, d.AccountKey, d.SASToken = client.AccountName, client.AccountKey, client.SASToken
			d.Endpoint, d.Bucket, d.Path = client.Endpoint, client.Bucket, client.Path
			t.Cleanup(func() { d.Close() })
			return d
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			client := c.(*abs.ReplicaClient)
			d, err := replica.NewFromURL("abs://" + client.Bucket + "/" + client.Path + below + "?endpoint=" + url.QueryEscape(client.Endpoint))
			if err != nil {
				t.Fatal(err)
			}
			e := d.(*abs.ReplicaClient)
			e.AccountName, e.AccountKey, e.SASToken = client.AccountName, client.AccountKey, client.SASToken
			t.Cleanup(func() { e.Close() })
			return small(e)
		},
	}
}

// place stores a blob as it is.
func place(t testing.TB, c *abs.ReplicaClient, name string, body []byte) {
	t.Helper()
	key, err := azblob.NewSharedKeyCredential(account, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := container.NewClientWithSharedKeyCredential(c.Endpoint+"/"+c.Bucket, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blobs.NewBlockBlobClient(name).Upload(t.Context(), streaming.NopCloser(bytes.NewReader(body)), nil); err != nil {
		t.Fatal(err)
	}
}

// small makes limits small enough to be met.
func small(c *abs.ReplicaClient) *abs.ReplicaClient {
	c.PartSize, c.Concurrency = 256<<10, 3
	c.SetPageSize(500)
	return c
}

func TestConformance(t *testing.T) {
	server(t)
	t.Run("key", func(t *testing.T) {
		replicatest.Run(t, func(t *testing.T) replica.Client { return small(newClient(t)) }, properties())
	})
	t.Run("account SAS", testAccountSAS)
	// All but the cases with many files, which take long.
	props := properties()
	props.ManyFiles = -1
	t.Run("container SAS", func(t *testing.T) {
		replicatest.Run(t, func(t *testing.T) replica.Client {
			c := newClient(t)
			permissions := sas.ContainerPermissions{Read: true, Write: true, Create: true, Delete: true, List: true}
			return small(withSAS(t, c, "?"+containerSAS(t, c.Bucket, permissions, time.Now().Add(time.Hour))))
		}, props)
	})
}

// testAccountSAS calls each method once. To the client, a signature for the
// account is the same as one for a container, with which the whole suite runs.
func testAccountSAS(t *testing.T) {
	c := small(withSAS(t, newClient(t), accountSAS(t, sas.AccountPermissions{Read: true, Write: true, Create: true, Delete: true, List: true},
		time.Now().Add(-time.Hour), time.Now().Add(time.Hour))))
	bodies := [][]byte{encode(t, 1, 0, 4096), encode(t, 2, 0, 600<<10)} // the second in parts
	if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(bodies[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateLTXFile(t.Context(), 0, 2, 2, bytes.NewReader(bodies[1])); err != nil {
		t.Fatal(err)
	}
	infos, err := listAll(t.Context(), c, 0)
	if err != nil || len(infos) != 2 {
		t.Fatalf("%d files are listed, %v", len(infos), err)
	}
	for i, want := range bodies {
		if got, err := readAll(t.Context(), c, ltx.TXID(i+1), 10, 0); err != nil || !bytes.Equal(got, want[10:]) {
			t.Errorf("read %d bytes of %d, %v", len(got), len(want)-10, err)
		}
	}
	if err := c.DeleteLTXFiles(t.Context(), infos); err != nil {
		t.Fatal(err)
	}
	itr, err := c.AllLTXFiles(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if infos, err := ltx.SliceFileIterator(itr); err != nil || len(infos) > 0 {
		t.Errorf("after a deletion, %d files are listed, %v", len(infos), err)
	}
}

// encode makes an LTX file of about size bytes.
func encode(t testing.TB, txid ltx.TXID, seed uint64, size int) []byte {
	t.Helper()
	const pageSize = 4096
	b, err := replicatest.FileSpec{
		MinTXID: txid, MaxTXID: txid, Timestamp: time.UnixMilli(1_700_000_000_123), PageSize: pageSize, Pages: max(size/pageSize, 1), Seed: seed,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readAll returns a range of a file of level 0 and one transaction.
func readAll(ctx context.Context, c *abs.ReplicaClient, txid ltx.TXID, offset, size int64) ([]byte, error) {
	body, err := c.OpenLTXFile(ctx, 0, txid, txid, offset, size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

// listAll returns the files of level 0 from a transaction on.
func listAll(ctx context.Context, c *abs.ReplicaClient, seek ltx.TXID) (infos []*ltx.FileInfo, err error) {
	itr, err := c.LTXFiles(ctx, 0, seek, true)
	if err != nil {
		return nil, err
	}
	for itr.Next() {
		infos = append(infos, itr.Item())
	}
	return infos, itr.Close()
}

// Sixteen writers at once, of files in several parts.
func TestCreateLTXFile_Parts(t *testing.T) {
	c := newClient(t)
	c.PartSize = 64 << 10
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		var bodies [16][]byte
		var won atomic.Int64
		won.Store(-1)
		var group errgroup.Group
		for i := range bodies {
			bodies[i] = encode(t, txid, uint64(i), 200<<10)
			group.Go(func() error {
				_, err := c.CreateLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(bodies[i]))
				switch {
				case err == nil && !won.CompareAndSwap(-1, int64(i)):
					return errors.New("a second call succeeds")
				case err != nil && !errors.Is(err, fs.ErrExist):
					return err
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if won.Load() < 0 {
			t.Fatal("no call succeeds")
		}
		got, err := readAll(t.Context(), c, txid, 0, 0)
		if err != nil || !bytes.Equal(got, bodies[won.Load()]) {
			t.Errorf("what is there is not what won: %d bytes, %v", len(got), err)
		}
	}
}
