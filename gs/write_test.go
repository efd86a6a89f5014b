package gs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

const uploadPath = "/upload/storage/v1/b/bucket/o"

// uploads is a server that takes one object in parts, and does to the parts
// what a test wants.
type uploads struct {
	part func(w http.ResponseWriter, n int, last bool) (handled bool) // n counts from 1

	mu     sync.Mutex
	parts  int    // guarded by mu
	got    []byte // guarded by mu
	stored bool   // guarded by mu
	query  string // guarded by mu: of the first request
}

func (u *uploads) serve(t *testing.T) *server {
	var s *server
	s = newServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // cut off by the client
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		switch {
		case r.URL.Path == uploadPath:
			u.query = r.URL.RawQuery
			w.Header().Set("Location", s.URL+"/session?upload_id=secretsession")
		case r.Method == http.MethodDelete:
			w.WriteHeader(499)
		default:
			u.parts++
			last := !strings.HasSuffix(r.Header.Get("Content-Range"), "/*")
			if u.part != nil && u.part(w, u.parts, last) {
				return
			}
			u.got = append(u.got, b...)
			if !last {
				w.Header().Set("X-Http-Status-Code-Override", "308")
				w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(u.got)-1))
				return
			}
			u.stored = true
			reply(w, 200, map[string]any{
				"kind": "storage#object", "bucket": "bucket", "name": "db/ltx/0/" + ltx.FormatFilename(1, 1), "size": fmt.Sprint(len(u.got)),
			})
		}
	})
	return s
}

func TestCreateLTXFile_Parts(t *testing.T) {
	b := body(t, 200)
	u := &uploads{part: func(w http.ResponseWriter, n int, last bool) bool {
		if n == 2 {
			refuse(w, 503, "backendError", "Again.")
		}
		return n == 2
	}}
	s := u.serve(t)
	c := s.client(t)
	c.PartSize = 256 << 10
	info, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size != int64(len(b)) || !bytes.Equal(u.got, b) {
		t.Errorf("stored %d bytes, info has %d, want %d", len(u.got), info.Size, len(b))
	}
	if !strings.Contains(u.query, "ifGenerationMatch=0") {
		t.Errorf("upload is not conditional: %s", u.query)
	}
	if asked := s.asked(); len(asked) != 1+4+1 { // start, parts, one of them twice
		t.Errorf("requests: %q", asked)
	}
}

// A client that cannot know whether it has stored a file itself does not return
// fs.ErrExist.
func TestCreateLTXFile_Ambiguous(t *testing.T) {
	b := body(t, 200)
	t.Run("one request", func(t *testing.T) {
		for name, answer := range map[string]func(http.ResponseWriter){
			"reset": reset,
			"503":   func(w http.ResponseWriter) { refuse(w, 503, "backendError", "Again.") },
		} {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				answer(w)
			})
			_, err := s.client(t).CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(b))
			wantError(t, err, "transient")
			if asked := s.asked(); len(asked) != 1 {
				t.Errorf("%s: requests: %q", name, asked)
			}
		}
	})
	for _, failedFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("parts, failed first ", failedFirst), func(t *testing.T) {
			tries := 0
			u := &uploads{part: func(w http.ResponseWriter, n int, last bool) bool {
				if !last {
					return false
				}
				if tries++; tries == 1 && failedFirst {
					refuse(w, 503, "backendError", "Again.")
				} else {
					refuse(w, 412, "conditionNotMet", "There is one.")
				}
				return true
			}}
			c := u.serve(t).client(t)
			c.PartSize = 256 << 10
			_, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(b))
			if failedFirst {
				wantError(t, err, "transient", "may be its own")
			} else {
				wantError(t, err, "exists", "bucket/db/ltx/0/")
			}
		})
	}
}

// Nothing is stored of a large file that is not written to its end, and the
// upload is given up.
func TestWriteLTXFile_Abandoned(t *testing.T) {
	b := body(t, 200)
	errBroken := errors.New("broken on purpose")
	for name, cut := range map[string]func(context.CancelFunc) io.Reader{
		"reader": func(context.CancelFunc) io.Reader { return iotest.ErrReader(errBroken) },
		"cancel": func(cancel context.CancelFunc) io.Reader { return cancelReader{cancel} },
	} {
		t.Run(name, func(t *testing.T) {
			u := &uploads{}
			s := u.serve(t)
			c := s.client(t)
			c.PartSize = 256 << 10
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := c.WriteLTXFile(ctx, 0, 1, 1, io.MultiReader(bytes.NewReader(b[:700<<10]), cut(cancel)))
			if !errors.Is(err, errBroken) && !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v", err)
			}
			u.mu.Lock()
			stored := u.stored
			u.mu.Unlock()
			if stored {
				t.Error("an incomplete file was stored")
			}
			asked := s.asked()
			if last := asked[len(asked)-1]; last != "DELETE /session" {
				t.Errorf("the upload was not given up: %q", asked)
			}
			if err != nil && strings.Contains(err.Error(), "secretsession") {
				t.Errorf("error has the url of the upload: %v", err)
			}
		})
	}
}

type cancelReader struct{ cancel context.CancelFunc }

func (r cancelReader) Read([]byte) (int, error) {
	r.cancel()
	return 0, nil
}

// Of 16 uploads in parts of one name, exactly one wins, on a real server.
func TestCreateLTXFile_RaceInParts(t *testing.T) {
	bucket := newBucket(t)
	b := body(t, 150)
	const callers = 16
	var errs [callers]error
	var group errgroup.Group
	for i := range callers {
		c := newClient(t, bucket.BucketName())
		c.PartSize = 256 << 10
		group.Go(func() error {
			_, errs[i] = c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(b))
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wantError(t, err, "exists")
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won", won, callers)
	}
}

// The object is what upstream would have made of it.
func TestWriteLTXFile_Object(t *testing.T) {
	bucket := newBucket(t)
	for level, partSize := range []int64{0, 256 << 10} {
		c := newClient(t, bucket.BucketName())
		c.PartSize = partSize
		b := body(t, 100)
		info, err := c.WriteLTXFile(t.Context(), level, 1, 1, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		attrs, err := bucket.Object(fmt.Sprintf("some/path/ltx/%d/%s", level, ltx.FormatFilename(1, 1))).Attrs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := attrs.Metadata["litestream-timestamp"]; got != "1970-01-01T00:00:00Z" || attrs.Size != info.Size {
			t.Errorf("timestamp is %q, size %d, want that of the header, %d", got, attrs.Size, info.Size)
		}
	}
}
