package abs_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

// What a create-only put makes of conflicts.
func TestCreateLTXFile_Conflicts(t *testing.T) {
	for _, tt := range []struct {
		status    int
		code      string
		exist     bool
		permanent bool
	}{
		{409, "BlobAlreadyExists", true, true},
		{412, "ConditionNotMet", true, true},
		{412, "", true, true},
		{409, "LeaseIdMissing", false, true},
		{409, "ContainerBeingDeleted", false, true},
		{400, "InvalidBlockList", false, false},
		{500, "OperationTimedOut", false, false},
	} {
		for _, size := range []int{4096, 200 << 10} {
			var last *http.Request
			c := fake(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Query().Get("comp") == "block" {
					w.WriteHeader(http.StatusCreated)
					return
				}
				last = r
				refuse(w, tt.status, tt.code)
			})
			c.PartSize = 64 << 10
			_, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(encode(t, 1, 0, size)))
			if err == nil || errors.Is(err, fs.ErrExist) != tt.exist || permanent(err) != tt.permanent {
				t.Errorf("%d %s, %d bytes: got error %v", tt.status, tt.code, size, err)
			}
			if last.Header.Get("If-None-Match") != "*" {
				t.Errorf("%d bytes: the request has no condition", size)
			}
			_, err = c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(encode(t, 1, 0, size)))
			if err == nil || errors.Is(err, fs.ErrExist) || last.Header.Get("If-None-Match") != "" {
				t.Errorf("%d %s, %d bytes: WriteLTXFile: got error %v", tt.status, tt.code, size, err)
			}
		}
	}
}

// Parts are sent again, and only they; no more than allowed at once.
func TestWriteLTXFile_Parts(t *testing.T) {
	var mu sync.Mutex
	attempts := map[string]int{} // of a block
	commits, ids := 0, ""
	failures := 2 // of every block's first attempts
	c := fake(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch query := r.URL.Query(); query.Get("comp") {
		case "block":
			if len(body) == 0 || len(body) > 64<<10 {
				t.Errorf("a block of %d bytes", len(body))
			}
			if attempts[query.Get("blockid")]++; attempts[query.Get("blockid")] <= failures {
				refuse(w, 503, "ServerBusy")
				return
			}
			w.WriteHeader(http.StatusCreated)
		case "blocklist":
			commits++
			ids = string(body)
			w.WriteHeader(http.StatusCreated)
		default:
			t.Errorf("unexpected request %s %s", r.Method, r.URL.Path)
		}
	})
	c.PartSize, c.Concurrency = 64<<10, 2
	body := encode(t, 1, 0, 200<<10)
	info, err := c.WriteLTXFile(t.Context(), 0, 1, 1, io.MultiReader(bytes.NewReader(body)))
	if err != nil || info.Size != int64(len(body)) {
		t.Fatalf("%+v, error %v", info, err)
	}
	want := (len(body) + 64<<10 - 1) / (64 << 10)
	if len(attempts) != want || commits != 1 {
		t.Errorf("%d blocks, %d commits", len(attempts), commits)
	}
	for id := range attempts {
		if !strings.Contains(ids, id) {
			t.Errorf("block %s is not committed", id)
		}
	}

	mu.Lock()
	failures, commits = 3, 0
	clear(attempts)
	mu.Unlock()
	if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); err == nil || permanent(err) || !strings.Contains(err.Error(), "ServerBusy") {
		t.Errorf("got error %v", err)
	}
	mu.Lock() // other parts may still be under way
	defer mu.Unlock()
	if commits > 0 {
		t.Error("parts are committed without one of them")
	}
	for id, n := range attempts {
		if n > 3 {
			t.Errorf("block %s was sent %d times", id, n)
		}
	}
}

// TestWriteLTXFile_AnsweredEarly has the server refuse blocks before it has read
// them. The transport goes on reading what it sends while the next try begins,
// and may not take anything from that.
func TestWriteLTXFile_AnsweredEarly(t *testing.T) {
	var mu sync.Mutex
	early := map[string]io.Reader{} // what the transport still reads, by block
	sent := map[string][]byte{}
	c := fake(t, func(http.ResponseWriter, *http.Request) { t.Error("a request reaches the server") })
	record(c, func(r *http.Request) *http.Response {
		mu.Lock()
		defer mu.Unlock()
		id := r.URL.Query().Get("blockid")
		created := answer(http.StatusCreated, "", "", "")
		created.Header.Set("Etag", `"x"`)
		if id == "" {
			return created
		}
		if early[id] == nil {
			early[id] = r.Body
			return answer(http.StatusServiceUnavailable, "ServerBusy", "", "")
		}
		if _, err := early[id].Read(make([]byte, 10)); err != nil {
			t.Error(err)
		}
		content, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sent[id] = content
		return created
	})
	c.PartSize = 64 << 10
	content := encode(t, 1, 0, 200<<10)
	if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	for id, part := range sent {
		if !bytes.Contains(content, part) || len(part) != 64<<10 && !bytes.HasSuffix(content, part) {
			t.Errorf("block %s has %d bytes of another content", id, len(part))
		}
	}
	if want := (len(content) + 64<<10 - 1) / (64 << 10); len(sent) != want {
		t.Errorf("%d blocks, want %d", len(sent), want)
	}
}

// What failed writes leave behind does not disturb those that come after.
func TestCreateLTXFile_Leftovers(t *testing.T) {
	blobs := newContainer(t)
	c := keyClient(t, bucketOf(t, blobs))
	c.PartSize = 64 << 10
	failed := errors.New("fails on purpose")
	body := encode(t, 1, 0, 200<<10)
	pr, pw := io.Pipe()
	go func() {
		_, _ = pw.Write(body[:150<<10])
		pw.CloseWithError(failed)
	}()
	if _, err := c.CreateLTXFile(t.Context(), 0, 1, 1, pr); !errors.Is(err, failed) {
		t.Fatalf("got error %v", err)
	}
	if _, err := readAll(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a failed write: %v", err)
	}
	if infos, err := listAll(t.Context(), c, 0); err != nil || len(infos) > 0 {
		t.Errorf("after a failed write: %d files, %v", len(infos), err)
	}
	if _, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(t.Context(), c, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
}

// Blocks that a killed Litestream has left, which it sends with the SDK, do not block
// an upload under the same name. Azure refuses a block whose ID has another length.
func TestCreateLTXFile_ForeignBlocks(t *testing.T) {
	var mu sync.Mutex
	length := 0 // of the IDs of the blocks that came; 0: none came
	c := fake(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Query().Get("comp") == "block" {
			id, err := base64.StdEncoding.DecodeString(r.URL.Query().Get("blockid"))
			if err != nil || length > 0 && length != len(id) {
				refuse(w, http.StatusBadRequest, "InvalidBlobOrBlock")
				return
			}
			length = len(id)
		}
		w.WriteHeader(http.StatusCreated)
	})
	blob, err := blockblob.NewClientWithNoCredential(c.Endpoint+"/bucket/blob", nil)
	if err != nil {
		t.Fatal(err)
	}
	killed := errors.New("killed")
	r := io.MultiReader(bytes.NewReader(make([]byte, 3<<20)), iotest.ErrReader(killed))
	if _, err := blob.UploadStream(t.Context(), r, &blockblob.UploadStreamOptions{BlockSize: 1 << 20}); !errors.Is(err, killed) {
		t.Fatalf("upload of the SDK: %v", err)
	}
	mu.Lock()
	if length == 0 {
		t.Error("the SDK has sent no block")
	}
	mu.Unlock()
	c.PartSize = 64 << 10
	if _, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(encode(t, 1, 0, 200<<10))); err != nil {
		t.Error(err)
	}
}
