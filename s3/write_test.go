package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/s3"
)

// partSize is the least there is.
const partSize = 5 << 20

// uploads returns the number of uploads under way in a replica.
func (s *server) uploads(t testing.TB, path string) int {
	t.Helper()
	out, err := s.sdk().ListMultipartUploads(t.Context(), &sdk.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: aws.String(path + "/")})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

func TestWrite_Metadata(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	c := s.newClient(t)
	c.PartSize = partSize
	write(t, c, 2, 1, smallFile)
	write(t, c, 2, 2, file(t, 2, partSize+partSize/2))
	for _, txid := range []ltx.TXID{1, 2} {
		got := s.head(t, c.Path+"/0002/"+ltx.FormatFilename(txid, txid)).Metadata["litestream-timestamp"]
		if want := "2023-11-14T22:13:20.123Z"; got != want {
			t.Errorf("%s: timestamp %q, want %q", txid, got, want)
		}
	}
}

// Of creates in parts, too, one wins; and files just as long as their parts.
func TestCreate_Multipart(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	c := s.newClient(t)
	c.PartSize = partSize
	body := file(t, 1, partSize+partSize/4)
	const callers = 16
	var won, lost atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			switch _, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, fs.ErrExist):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != callers-1 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
	if got, err := read(t.Context(), c, 0, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if n := s.uploads(t, c.Path); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// Sizes around those of parts: the number of requests, and what is stored.
func TestWrite_Sizes(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	header := file(t, 1, 4096)[:ltx.HeaderSize]
	for _, tt := range []struct{ size, puts int }{
		{partSize - 1, 1}, {partSize, 1}, {partSize + 1, 2}, {2 * partSize, 2}, {2*partSize + 1, 3},
	} {
		body := append(bytes.Clone(header), make([]byte, tt.size-len(header))...)
		body[tt.size-1] = 1
		var puts atomic.Int64
		tr := s.ownTransport(t)
		c := s.client(t, newPath(), roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPut {
				puts.Add(1)
			}
			return tr.RoundTrip(req)
		}))
		c.PartSize = partSize
		info, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body))
		if err != nil || info.Size != int64(tt.size) || puts.Load() != int64(tt.puts) {
			t.Errorf("%d bytes: %+v, %v, %d puts", tt.size, info, err, puts.Load())
		}
		if got, err := read(t.Context(), c, 0, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes are read as %d, %v", tt.size, len(got), err)
		}
	}
}

// Whatever goes wrong in an upload, nothing is left of it; and only parts are
// tried again.
func TestMultipart_Failures(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	body := file(t, 1, 3*partSize)
	for _, tt := range []struct {
		name   string
		match  func(*http.Request) bool
		status int
		code   string
		times  int64
		ok     bool
		want   error
	}{
		{"begin", func(r *http.Request) bool { return r.URL.Query().Has("uploads") }, 503, "SlowDown", 1, false, nil},
		{"a part once", func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "2" }, 503, "SlowDown", 1, true, nil},
		{"a part", func(r *http.Request) bool { return r.URL.Query().Get("partNumber") == "2" }, 403, "AccessDenied", 9, false, fs.ErrPermission},
		{"complete", func(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploadId") }, 500, "InternalError", 1, false, nil},
		{"complete, exists", func(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploadId") }, 412, "PreconditionFailed", 1, false, fs.ErrExist},
		{"complete, in 200", func(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploadId") }, 200, "InternalError", 1, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var failed atomic.Int64
			tr := s.ownTransport(t)
			c := s.client(t, newPath(), roundTrip(func(req *http.Request) (*http.Response, error) {
				if tt.match(req) && failed.Add(1) <= tt.times {
					_, _ = io.Copy(io.Discard, body2(req))
					return answer(req, tt.status, tt.code, "message"), nil
				}
				return tr.RoundTrip(req)
			}))
			c.PartSize = partSize
			_, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body))
			if (err == nil) != tt.ok || tt.want != nil && !errors.Is(err, tt.want) || err != nil && tt.want == nil && isPermanent(err) {
				t.Errorf("got %v", err)
			}
			if n := s.uploads(t, c.Path); n != 0 {
				t.Errorf("%d uploads are left", n)
			}
			if _, err := read(t.Context(), c, 0, 1, 0, 0); (err == nil) != tt.ok {
				t.Errorf("read: %v", err)
			}
		})
	}
	t.Run("reader and context", func(t *testing.T) {
		c := s.newClient(t)
		c.PartSize = partSize
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, end := range []func() error{
			func() error { return errors.New("reader fails") },
			func() error { cancel(); return nil },
		} {
			r := io.MultiReader(bytes.NewReader(body[:2*partSize+100]), readerFunc(func([]byte) (int, error) { return 0, end() }))
			if _, err := c.WriteLTXFile(ctx, 0, 1, 1, r); err == nil {
				t.Error("no error")
			}
			if n := s.uploads(t, c.Path); n != 0 {
				t.Errorf("%d uploads are left", n)
			}
		}
		if ctx.Err() == nil {
			t.Error("not canceled")
		}
	})
}

// A condition that fails after the server has begun to answer is an error in an answer
// with status 200. It means what status 412 means.
func TestMultipart_LateCondition(t *testing.T) {
	body := file(t, 1, 200<<10)
	c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Query().Has("uploads"):
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		case req.Method == http.MethodPost, req.Header.Get("X-Amz-Copy-Source") != "":
			refuse(http.StatusOK, "PreconditionFailed", "late")(w, req)
		case req.Method == http.MethodGet, req.Method == http.MethodHead:
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(body))
		case req.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default: // a part
			_, _ = io.Copy(io.Discard, req.Body)
		}
	})
	if err := s3.SetPartSize(t.Context(), c, 64<<10); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); err == nil || errors.Is(err, fs.ErrExist) {
		t.Errorf("a write without a condition: %v", err)
	}
	if _, err := c.CopyLTXFile(t.Context(), c, 0, 1, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy of a file that is replaced: %v", err)
	}
}

func body2(req *http.Request) io.Reader {
	if req.Body == nil {
		return strings.NewReader("")
	}
	return req.Body
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// No more parts are under way, and read, than Concurrency.
func TestMultipart_Bounded(t *testing.T) {
	noEnvironment(t)
	const concurrency = 2
	var under, most, readBytes, ahead atomic.Int64
	c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Has("uploads") {
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
			return
		}
		if req.URL.Query().Has("partNumber") {
			most.Store(max(most.Load(), under.Add(1)))
			_, _ = io.Copy(io.Discard, req.Body)
			under.Add(-1)
			w.Header().Set("Etag", `"x"`)
			return
		}
		_, _ = io.WriteString(w, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
	})
	c.PartSize, c.Concurrency = partSize, concurrency
	body := file(t, 1, 8*partSize)
	r := bytes.NewReader(body)
	_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		readBytes.Add(int64(n))
		ahead.Store(max(ahead.Load(), under.Load()))
		return n, err
	}))
	if err != nil || most.Load() > concurrency || ahead.Load() > concurrency {
		t.Errorf("%v, %d parts at once", err, most.Load())
	}
}

// Parts use the memory of earlier parts, and have their own content also if an
// attempt is refused before the server has read it.
func TestMultipart_Memory(t *testing.T) {
	noEnvironment(t)
	const parts, size, concurrency = 40, 100_000, 3
	for _, refused := range []int{0, 4} { // each part whose number it divides, once
		t.Run(fmt.Sprintf("refused %d", refused), func(t *testing.T) {
			var mu sync.Mutex // guards stored and attempts
			stored, attempts := map[int][]byte{}, map[int]int{}
			c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Query().Has("uploads") {
					_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
					return
				}
				number, err := strconv.Atoi(req.URL.Query().Get("partNumber"))
				if err != nil {
					_, _ = io.WriteString(w, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
					return
				}
				mu.Lock()
				attempts[number]++
				refuse := refused > 0 && number%refused == 0 && attempts[number] == 1
				mu.Unlock()
				if refuse {
					w.WriteHeader(http.StatusServiceUnavailable)
					_, _ = io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
					return
				}
				body, err := io.ReadAll(req.Body)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				stored[number] = body
				mu.Unlock()
				w.Header().Set("Etag", `"x"`)
			})
			c.Concurrency = concurrency
			if err := s3.SetPartSize(t.Context(), c, size); err != nil {
				t.Fatal(err)
			}
			body := file(t, 1, parts*size)
			memory, read := map[*byte]bool{}, 0
			r := bytes.NewReader(body)
			_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, readerFunc(func(p []byte) (int, error) {
				if read%size == 0 {
					memory[unsafe.SliceData(p)] = true
				}
				n, err := r.Read(p)
				read += n
				return n, err
			}))
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for i := range len(stored) {
				got = append(got, stored[i+1]...)
			}
			if !bytes.Equal(got, body) {
				t.Errorf("stored %d bytes in %d parts, want the %d of the file", len(got), len(stored), len(body))
			}
			if want := concurrency + 2; refused == 0 && len(memory) > want {
				t.Errorf("%d parts had %d pieces of memory, want %d at most", len(stored), len(memory), want)
			}
		})
	}
}

// A conditional put without an answer is not known to have failed.
func TestCreate_Ambiguous(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	tr := s.ownTransport(t)
	var puts atomic.Int64
	c := s.client(t, newPath(), roundTrip(func(req *http.Request) (*http.Response, error) {
		resp, err := tr.RoundTrip(req)
		if req.Method == http.MethodPut && err == nil {
			puts.Add(1)
			resp.Body.Close()
			return nil, errors.New("connection reset by peer")
		}
		return resp, err
	}))
	_, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(smallFile))
	if err == nil || isPermanent(err) || puts.Load() != 1 {
		t.Errorf("got %v after %d puts", err, puts.Load())
	}
	if got, err := read(t.Context(), c, 0, 1, 0, 0); err != nil || !bytes.Equal(got, smallFile) {
		t.Errorf("it was stored: %v", err)
	}
}
