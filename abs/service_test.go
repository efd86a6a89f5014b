package abs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/clientio"
)

// recorder counts requests, and can answer in the server's place.
type recorder struct {
	http.RoundTripper
	before func(*http.Request) *http.Response // nil goes on to the server

	mu       sync.Mutex
	requests []string // guarded by mu: method, the query without values that vary
}

// record has a client send its requests through a recorder.
func record(c *abs.ReplicaClient, before func(*http.Request) *http.Response) *recorder {
	rec := &recorder{RoundTripper: http.DefaultTransport, before: before}
	c.Transport = rec
	return rec
}

func (rec *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	line := r.Method
	for _, name := range []string{"comp", "startFrom"} {
		if value := r.URL.Query().Get(name); value != "" {
			line += " " + name + "=" + value
		}
	}
	rec.mu.Lock()
	rec.requests = append(rec.requests, line)
	rec.mu.Unlock()
	if rec.before != nil {
		if resp := rec.before(r); resp != nil {
			if r.Body != nil {
				r.Body.Close()
			}
			resp.Request = r
			return resp, nil
		}
	}
	return rec.RoundTripper.RoundTrip(r)
}

// take returns the requests since the last call.
func (rec *recorder) take() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	requests := rec.requests
	rec.requests = nil
	return requests
}

func (rec *recorder) want(t *testing.T, op string, want ...string) {
	t.Helper()
	if got := rec.take(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: requests %q, want %q", op, got, want)
	}
}

// answer makes an answer.
func answer(status int, code, contentType, body string) *http.Response {
	resp := &http.Response{
		StatusCode: status, Header: http.Header{}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1, ProtoMinor: 1,
	}
	if code != "" {
		resp.Header.Set("X-Ms-Error-Code", code)
	}
	resp.Header.Set("Content-Type", contentType)
	resp.Header.Set("X-Ms-Request-Id", "request-1") // as all answers of the service
	return resp
}

// Names and metadata are those of upstream.
func TestLayout(t *testing.T) {
	blobs := newContainer(t)
	c := keyClient(t, bucketOf(t, blobs))
	c.PartSize = 64 << 10
	for txid, size := range map[ltx.TXID]int{1: 4096, 2: 200 << 10} {
		if _, err := c.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(encode(t, txid, 0, size))); err != nil {
			t.Fatal(err)
		}
		got, err := blobs.NewBlobClient(fmt.Sprintf("some/app.db/ltx/0/%016x-%016x.ltx", uint64(txid), uint64(txid))).GetProperties(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if v := got.Metadata["Litestreamtimestamp"]; v == nil || *v != "2023-11-14T22:13:20.123Z" {
			t.Errorf("metadata is %v", got.Metadata)
		}
		if *got.ContentType != "application/octet-stream" {
			t.Errorf("content type is %s", *got.ContentType)
		}
	}
}

func TestLTXFiles_StartFrom(t *testing.T) {
	key := newClient(t)
	const n = 30
	for txid := ltx.TXID(1); txid <= n; txid++ {
		if _, err := key.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(encode(t, txid, 0, 1))); err != nil {
			t.Fatal(err)
		}
	}
	// With a signature that is no part of requests, which the test changes.
	token := containerSAS(t, key.Bucket, sas.ContainerPermissions{Read: true, List: true}, time.Now().Add(time.Hour))
	const start = "GET comp=list startFrom=some/app.db/ltx/0/0000000000000015"
	newSession := func(before func(*http.Request) *http.Response) (*abs.ReplicaClient, *recorder) {
		c := withSAS(t, key, token)
		c.SetPageSize(4)
		return c, record(c, before)
	}
	check := func(t *testing.T, c *abs.ReplicaClient) {
		t.Helper()
		infos, err := listAll(t.Context(), c, 21)
		if err != nil || len(infos) != 10 || infos[0].MinTXID != 21 || infos[9].MinTXID != 30 {
			t.Errorf("got %d files, error %v", len(infos), err)
		}
	}

	t.Run("taken", func(t *testing.T) {
		c, rec := newSession(nil)
		check(t, c)
		rec.want(t, "list", start, "GET comp=list", "GET comp=list")
		if _, err := listAll(t.Context(), c, 0); err != nil {
			t.Error(err)
		}
		if got := rec.take(); len(got) != 8 || got[0] != "GET comp=list" {
			t.Errorf("a listing from the start takes %q", got)
		}
	})
	t.Run("ignored", func(t *testing.T) {
		c, rec := newSession(func(r *http.Request) *http.Response {
			query := r.URL.Query()
			query.Del("startFrom")
			r.URL.RawQuery = query.Encode()
			return nil
		})
		check(t, c)
		if got := rec.take(); len(got) != 8 {
			t.Errorf("requests: %q", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		c, rec := newSession(func(r *http.Request) *http.Response {
			if !r.URL.Query().Has("startFrom") {
				return nil
			}
			return answer(400, "InvalidQueryParameterValue", "application/xml", "")
		})
		check(t, c)
		if got := rec.take(); len(got) != 9 || got[0] != start {
			t.Errorf("requests: %q", got)
		}
		check(t, c)
		if got := rec.take(); len(got) != 8 || got[0] != "GET comp=list" {
			t.Errorf("requests after it was refused: %q", got)
		}
	})
	t.Run("refused for something else", func(t *testing.T) {
		broken := true
		c, rec := newSession(func(r *http.Request) *http.Response {
			if broken {
				return answer(400, "InvalidHeaderValue", "application/xml", "")
			}
			return nil
		})
		if _, err := listAll(t.Context(), c, 21); err == nil || !permanent(err) {
			t.Errorf("got error %v", err)
		}
		broken = false
		rec.take()
		check(t, c)
		if got := rec.take(); got[0] != start {
			t.Errorf("requests: %q", got)
		}
	})
}

// These blobs were copied without their metadata, or with other letters.
func TestLTXFiles_Timestamps(t *testing.T) {
	blobs := newContainer(t)
	c := keyClient(t, bucketOf(t, blobs))
	before := time.Now().Add(-time.Minute)
	for txid, metadata := range map[ltx.TXID]map[string]*string{
		1: nil,
		2: {"LiteStreamTimeStamp": to.Ptr("2001-02-03T04:05:06.123456789Z")},
		3: {"litestreamtimestamp": to.Ptr("yesterday")},
		4: {"other": to.Ptr("2001-02-03T04:05:06Z")},
	} {
		name := clientio.NewLayout(replicaPath).Key(0, txid, txid)
		_, err := blobs.NewBlockBlobClient(name).Upload(t.Context(), streaming.NopCloser(strings.NewReader("x")), &blockblob.UploadOptions{Metadata: metadata})
		if err != nil {
			t.Fatal(err)
		}
	}
	infos, err := listAll(t.Context(), c, 0)
	if err != nil || len(infos) != 4 {
		t.Fatalf("%d files, error %v", len(infos), err)
	}
	for _, info := range infos {
		if info.MinTXID == 2 {
			if want := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC); !info.CreatedAt.Equal(want) {
				t.Errorf("CreatedAt is %v, want %v", info.CreatedAt, want)
			}
		} else if info.CreatedAt.Before(before) || info.CreatedAt.After(time.Now().Add(time.Minute)) {
			t.Errorf("%d: CreatedAt is %v", info.MinTXID, info.CreatedAt)
		}
	}
}

// The letters of a key may be large or small, whatever client wrote it.
func TestLTXFiles_MetadataCase(t *testing.T) {
	c := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		_, _ = io.WriteString(w, "<?xml version=\"1.0\"?><EnumerationResults><Blobs><Blob>"+
			"<Name>some/app.db/ltx/0/0000000000000001-0000000000000001.ltx</Name>"+
			"<Properties><Content-Length>5</Content-Length></Properties>"+
			"<Metadata><LitestreamTimestamp>2001-02-03T04:05:06.123456789Z</LitestreamTimestamp></Metadata>"+
			"</Blob></Blobs><NextMarker/></EnumerationResults>")
	})
	infos, err := listAll(t.Context(), c, 0)
	want := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	if err != nil || len(infos) != 1 || !infos[0].CreatedAt.Equal(want) {
		t.Errorf("got %+v, error %v", infos, err)
	}
}

// Listings that no service should give.
func TestLTXFiles_Answers(t *testing.T) {
	page := func(items, marker string) string {
		return "<?xml version=\"1.0\"?><EnumerationResults><Blobs>" + items + "</Blobs><NextMarker>" + marker + "</NextMarker></EnumerationResults>"
	}
	const name = "<Name>some/app.db/ltx/0/0000000000000001-0000000000000001.ltx</Name>"
	for _, tt := range []struct {
		name, body, want string
		files            int
	}{
		{"nothing", page("", ""), "", 0},
		{"no list of blobs", "<EnumerationResults></EnumerationResults>", "no whole page", 0},
		{"a blob without anything", page("<Blob></Blob>", ""), "without its name", 0},
		{"a blob without properties", page("<Blob>"+name+"</Blob>", ""), "without its size", 0},
		{"a blob without a length", page("<Blob>"+name+"<Properties></Properties></Blob>", ""), "without its size", 0},
		{"a blob without times", page("<Blob>"+name+"<Properties><Content-Length>5</Content-Length></Properties></Blob>", ""), "", 1},
		{"the same page for ever", page("", "again"), "listing does not go on", 0},
		{"not xml", "{}", "no xml", 0},
		{"cut off", page("", "")[:60], "cut off", 0},
		{"too large", strings.Repeat(" ", 65<<20), "too large", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fake(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				_, _ = io.WriteString(w, tt.body)
			})
			infos, err := listAll(t.Context(), c, 0)
			if len(infos) != tt.files || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %d files, error %v, want %d, %q", len(infos), err, tt.files, tt.want)
			}
		})
	}
}

// One connection serves one request after another, whatever becomes of them.
func TestConnections(t *testing.T) {
	c := newClient(t)
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	dials := 0
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return dial(ctx, network, addr)
	}
	c.Transport = tr
	for range 3 {
		for name, call := range methods(t) {
			if err := call(t.Context(), c); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		files(t, c, 1, true)
		for _, r := range [][2]int64{{0, 100}, {100, 50}, {1 << 20, 5}, {0, 0}} {
			if _, err := readAll(t.Context(), c, 1, r[0], r[1]); err != nil {
				t.Error(err)
			}
		}
	}
	if dials != 1 {
		t.Errorf("%d connections were made", dials)
	}
}
