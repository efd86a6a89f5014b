package s3_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io/fs"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
	"github.com/ltxvfs/litestream/s3"
)

// minio returns the MinIO server that the environment names, or skips the
// test. It is optional: nothing starts one.
func minio(t *testing.T) *server {
	t.Helper()
	t.Setenv("LITESTREAM_TEST_ALL", "")
	u := storetest.Server(t, "LITESTREAM_TEST_MINIO")
	tr := clientio.NewTransport(&tls.Config{InsecureSkipVerify: true}) // it is on this machine
	t.Cleanup(tr.CloseIdleConnections)
	s := &server{endpoint: u.String(), addr: u.Host, key: "minioadmin", secret: "minioadmin", bucket: bucketName, transport: tr}
	if err := s.createBucket(t.Context()); err != nil && errorText(err) != "BucketAlreadyOwnedByYou" {
		t.Fatal(err)
	}
	noEnvironment(t)
	return s
}

func errorText(err error) string {
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

func TestMinIO(t *testing.T) {
	s := minio(t)
	props := s.properties()
	props.ManyFiles = 1010
	props.Reopen = func(t *testing.T, c replica.Client) replica.Client {
		return s.client(t, c.(*s3.ReplicaClient).Path, s.transport)
	}
	replicatest.Run(t, func(t *testing.T) replica.Client { return s.client(t, newPath(), s.transport) }, props)
}

// A server that encrypts with the client's key, for which it wants TLS.
func TestMinIO_CustomerKey(t *testing.T) {
	s := minio(t)
	if s.endpoint[:5] != "https" {
		t.Skip("LITESTREAM_TEST_MINIO has no TLS")
	}
	path := newPath()
	c := s.client(t, path, s.transport)
	c.SSECustomerKey = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	c.PartSize = partSize
	large := file(t, 1, partSize+partSize/2)
	for level, body := range [][]byte{smallFile, large} {
		if _, err := c.CreateLTXFile(t.Context(), level, 1, 1, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		if got, err := read(t.Context(), c, level, 1, 100, 0); err != nil || !bytes.Equal(got, body[100:]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := c.CreateLTXFile(t.Context(), level, 1, 1, bytes.NewReader(body)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v", err)
		}
	}
	infos, err := list(t.Context(), c, true)
	if err != nil || len(infos) != 1 || infos[0].CreatedAt.UnixMilli() != 1_700_000_000_123 {
		t.Errorf("%+v, %v", infos, err)
	}

	for name, key := range map[string]string{"none": "", "another": base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{8}, 32))} {
		other := s.client(t, path, s.transport)
		other.SSECustomerKey = key
		if _, err := read(t.Context(), other, 0, 1, 0, 0); err == nil || !isPermanent(err) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with key %s: %v", name, err)
		}
	}
}
