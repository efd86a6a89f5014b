package storetest

import (
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bucket is the bucket of the services within the process of a test.
const Bucket = "bucket"

// Service is a small store in the process of a test. It answers like the real
// store. Its ServeHTTP is safe for concurrent use.
type Service interface {
	http.Handler

	// Set replaces all objects of the store.
	Set(objects map[string][]byte)

	// Get returns an object. The caller does not change it.
	Get(key string) ([]byte, bool)

	// Put replaces an object, and Remove removes one.
	Put(key string, body []byte)
	Remove(key string)
}

// object is one of a service's objects.
type object struct {
	body      []byte
	timestamp string // the timestamp of the LTX header, in the metadata
}

// modified returns when an object was stored: at once after its transaction.
func (o object) modified() time.Time {
	if at, err := time.Parse(time.RFC3339Nano, o.timestamp); err == nil {
		return at.UTC()
	}
	return stored
}

// objects are the objects of a service.
type objects struct {
	mu      sync.Mutex
	byKey   map[string]object   // guarded by mu
	parts   map[string][][]byte // guarded by mu; the parts of unfinished uploads
	uploads int                 // guarded by mu; number of uploads so far
}

var stored = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Set implements Service.
func (o *objects) Set(bodies map[string][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.byKey, o.parts = map[string]object{}, map[string][][]byte{}
	for key, body := range bodies {
		o.byKey[key] = object{body: body, timestamp: stored.Format(time.RFC3339Nano)}
	}
}

// Get implements Service.
func (o *objects) Get(key string) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found, ok := o.byKey[key]
	return found.body, ok
}

// Put implements Service.
func (o *objects) Put(key string, body []byte) {
	o.put(key, body, stored.Format(time.RFC3339Nano), false)
}

// Remove implements Service.
func (o *objects) Remove(key string) { o.delete(key) }

func (o *objects) find(key string) (object, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found, ok := o.byKey[key]
	return found, ok
}

// keys returns the names with a prefix, in order.
func (o *objects) keys(prefix string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(func(yield func(string) bool) {
		for key := range maps.Keys(o.byKey) {
			if strings.HasPrefix(key, prefix) && !yield(key) {
				return
			}
		}
	})
}

// put stores an object, unless create is set and the object exists.
func (o *objects) put(key string, body []byte, timestamp string, create bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.byKey[key]; ok && create {
		return false
	}
	o.byKey[key] = object{body, timestamp}
	return true
}

func (o *objects) delete(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.byKey, key)
}

// begin begins an upload.
func (o *objects) begin() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.uploads++
	return fmt.Sprintf("upload-%d", o.uploads)
}

// part adds a part to an upload, by its number from 1.
func (o *objects) part(id string, number int, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.parts[id]) < number {
		o.parts[id] = append(o.parts[id], nil)
	}
	o.parts[id][number-1] = body
}

// whole returns the parts of an upload together.
func (o *objects) whole(id string) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Concat(o.parts[id]...)
}

func etag(body []byte) string { return fmt.Sprintf(`"%08x"`, crc32.ChecksumIEEE(body)) }

// serveBody answers a read with the whole body, or with the range in the header
// rangeHeader.
func serveBody(w http.ResponseWriter, r *http.Request, rangeHeader string, body []byte) {
	w.Header().Set("Etag", etag(body))
	w.Header().Set("Last-Modified", stored.Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/octet-stream")
	first, last, ranged := int64(0), int64(len(body))-1, false
	if text, ok := strings.CutPrefix(r.Header.Get(rangeHeader), "bytes="); ok {
		from, to, _ := strings.Cut(text, "-")
		first, _ = strconv.ParseInt(from, 10, 64)
		if n, err := strconv.ParseInt(to, 10, 64); err == nil {
			last = min(last, n)
		}
		ranged = true
	}
	if ranged && first > last {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(body)))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(last-first+1))
	if ranged {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(body)))
		w.WriteHeader(http.StatusPartialContent)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(body[first : last+1])
	}
}

func readBody(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body)
	return body
}

// escaped returns a text as it stands in a document of XML.
func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a builder does not fail
	return b.String()
}
