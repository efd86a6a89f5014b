package https_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/internal/storetest/apache"
	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient returns a client of a replica at an address.
func newClient(t testing.TB, url string) *https.ReplicaClient {
	t.Helper()
	c := https.NewReplicaClient()
	c.URL = url
	t.Cleanup(func() { c.Close() })
	return c
}

// served is a replica in a folder behind a web server: it is written to in the folder
// and read by way of the server.
type served struct {
	*https.ReplicaClient
	folder  *file.ReplicaClient
	publish bool // write index.json after each change

	publishing *sync.Mutex // orders the lists that are published
}

func newServed(t testing.TB, server, root, name string, publish bool) *served {
	t.Helper()
	return serve(t, newClient(t, server+"/"+name), filepath.Join(root, name), publish)
}

// serve returns the replica in a folder, which a client reads.
func serve(t testing.TB, c *https.ReplicaClient, folder string, publish bool) *served {
	t.Helper()
	s := &served{c, file.NewReplicaClient(folder), publish, new(sync.Mutex)}
	s.folder.FileMode, s.folder.DirMode = 0o644, 0o755 // the server is another user
	if err := os.MkdirAll(s.folder.Path(), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := s.changed(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// changed publishes the files of the folder.
func (s *served) changed(ctx context.Context) error {
	if !s.publish {
		return nil
	}
	s.publishing.Lock()
	defer s.publishing.Unlock()
	index := webindex.Index{Published: time.Now()}
	for level := range replica.SnapshotLevel + 1 {
		itr, err := s.folder.LTXFiles(ctx, level, 0, true)
		if err != nil {
			return err
		}
		infos, err := ltx.SliceFileIterator(itr)
		if err = errors.Join(err, itr.Close()); err != nil {
			return err
		}
		for _, f := range infos {
			name := "ltx/" + strconv.Itoa(level) + "/" + ltx.FormatFilename(f.MinTXID, f.MaxTXID)
			index.Files = append(index.Files, webindex.File{Name: name, Size: f.Size, Time: f.CreatedAt})
		}
	}
	b, err := webindex.Encode(index)
	if err != nil {
		return err
	}
	return s.folder.WriteIndex(ctx, b)
}

func (s *served) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	info, err := s.folder.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
	if err == nil {
		err = s.changed(ctx)
	}
	return info, err
}

func (s *served) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	err := s.folder.DeleteLTXFiles(ctx, a)
	if err == nil {
		err = s.changed(ctx)
	}
	return err
}

func properties(t *testing.T) replicatest.Properties {
	place := func(t *testing.T, c replica.Client, name string, body []byte) {
		path := filepath.Join(c.(*served).folder.Path(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return replicatest.Properties{
		NoCreate: true, LargeBody: 2 << 20, ManyFiles: 60,
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			place(t, c, "ltx/"+strconv.Itoa(level)+"/"+name, body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			s := c.(*served)
			return &served{newClient(t, s.URL), s.folder, s.publish, s.publishing}
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			s := c.(*served)
			client, err := replica.NewFromURL(s.URL + below)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.(*https.ReplicaClient).Close() })
			name, err := url.PathUnescape(below)
			if err != nil {
				t.Fatal(err)
			}
			return serve(t, client.(*https.ReplicaClient), filepath.Join(s.folder.Path(), name), s.publish)
		},
	}
}

// The suite runs over an index.json and over listings of folders, of Go's server and
// of Apache.
func TestConformance(t *testing.T) {
	run := func(name, server, root string, publish bool) {
		t.Run(name, func(t *testing.T) {
			props := properties(t)
			if !publish {
				props.TimestampPrecision = time.Minute // of what the pages show
				props.NoVersions = true                // the pages have no sizes
				props.ManyFiles = -1                   // each costs a request
			}
			n := 0
			name := strings.ReplaceAll(name, " ", "-")
			replicatest.Run(t, func(t *testing.T) replica.Client {
				n++
				return newServed(t, server, root, name+strconv.Itoa(n), publish)
			}, props)
		})
	}
	root := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(root)))
	t.Cleanup(server.Close)
	run("index", server.URL, root, true)
	run("folders", server.URL, root, false)
	a := apache.New(t, "")
	run("apache index", "http://"+a.Addr, a.Root, true)
	run("apache folders", "http://"+a.Addr, a.Root, false)
	b := apache.New(t, "IndexOptions FancyIndexing HTMLTable")
	run("apache fancy folders", "http://"+b.Addr, b.Root, false)
}

// encode makes an LTX file of about size bytes.
func encode(t testing.TB, txid ltx.TXID, seed uint64, size int) []byte {
	t.Helper()
	b, err := replicatest.FileSpec{
		MinTXID: txid, MaxTXID: txid, Timestamp: time.UnixMilli(1_700_000_000_123), PageSize: 4096, Pages: max(size/4096, 1), Seed: seed,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, c replica.Client, txid ltx.TXID, body []byte) {
	t.Helper()
	if _, err := c.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
}

func read(ctx context.Context, c replica.Client, txid ltx.TXID, offset, size int64) ([]byte, error) {
	body, err := c.OpenLTXFile(ctx, 0, txid, txid, offset, size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

func list(ctx context.Context, c replica.Client) ([]*ltx.FileInfo, error) {
	itr, err := c.LTXFiles(ctx, 0, 0, false)
	if err != nil {
		return nil, err
	}
	infos, err := ltx.SliceFileIterator(itr)
	return infos, errors.Join(err, itr.Close())
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) || errors.As(err, &p) && p.Permanent()
}

// A client cannot write.
func TestReadOnly(t *testing.T) {
	c := newClient(t, "https://example.com/x")
	if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(encode(t, 1, 0, 1))); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("write: %v", err)
	}
	if err := c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("delete: %v", err)
	}
}
