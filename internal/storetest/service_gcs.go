package storetest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

// NewGCS returns a service that speaks the JSON API of Google Cloud Storage.
func NewGCS() Service { return &gcsService{uploading: map[string]gcsUpload{}} }

type gcsService struct {
	objects
	uploading map[string]gcsUpload // guarded by mu
}

// gcsUpload is a resumable upload.
type gcsUpload struct {
	resource gcsResource
	create   bool
	body     []byte
}

// gcsResource is the description of an object in an answer.
type gcsResource struct {
	Kind        string            `json:"kind"`
	Name        string            `json:"name"`
	Bucket      string            `json:"bucket"`
	Size        string            `json:"size"`
	CRC32C      string            `json:"crc32c"`
	TimeCreated string            `json:"timeCreated"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

func (s *gcsService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Guploader-Uploadid", "request")
	query := r.URL.Query()
	key := ""
	if _, after, ok := strings.Cut(r.URL.Path, "/b/"+Bucket+"/o/"); ok {
		key = after
	}
	create := query.Get("ifGenerationMatch") == "0"
	switch {
	case r.Method == http.MethodPost && query.Get("uploadType") == "resumable":
		var resource gcsResource
		_ = json.Unmarshal(readBody(r), &resource)
		id := s.begin()
		s.mu.Lock()
		s.uploading[id] = gcsUpload{resource: resource, create: create}
		s.mu.Unlock()
		w.Header().Set("Location", "http://"+r.Host+r.URL.Path+"?upload_id="+id)
	case query.Has("upload_id"):
		s.resume(w, r, query.Get("upload_id"))
	case r.Method == http.MethodPost:
		resource, body := multipartUpload(r)
		s.store(w, resource, body, create)
	case r.Method == http.MethodGet && key == "":
		s.list(w, query.Get("prefix"))
	case r.Method == http.MethodGet:
		found, ok := s.find(key)
		if !ok {
			gcsError(w, http.StatusNotFound)
			return
		}
		w.Header().Set("X-Goog-Generation", "1")
		serveBody(w, r, "Range", found.body)
	case r.Method == http.MethodDelete:
		if _, ok := s.find(key); !ok {
			gcsError(w, http.StatusNotFound)
			return
		}
		s.delete(key)
		w.WriteHeader(http.StatusNoContent)
	}
}

func gcsError(w http.ResponseWriter, status int) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"code": status, "message": http.StatusText(status)}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// multipartUpload returns the name, the metadata and the content of an upload
// with one request.
func multipartUpload(r *http.Request) (resource gcsResource, body []byte) {
	_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	reader := multipart.NewReader(bytes.NewReader(readBody(r)), params["boundary"])
	if part, err := reader.NextPart(); err == nil {
		_ = json.NewDecoder(part).Decode(&resource)
	}
	if part, err := reader.NextPart(); err == nil {
		body, _ = io.ReadAll(part)
	}
	return resource, body
}

// resume stores a part of a resumable upload.
func (s *gcsService) resume(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method == http.MethodDelete {
		w.WriteHeader(499)
		return
	}
	body := readBody(r)
	s.mu.Lock()
	up := s.uploading[id]
	up.body = append(up.body, body...)
	s.uploading[id] = up
	s.mu.Unlock()
	if strings.HasSuffix(r.Header.Get("Content-Range"), "/*") {
		w.Header().Set("X-Http-Status-Code-Override", "308")
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(up.body)-1))
		return
	}
	s.store(w, up.resource, up.body, up.create)
}

func (s *gcsService) store(w http.ResponseWriter, resource gcsResource, body []byte, create bool) {
	if !s.put(resource.Name, body, resource.Metadata["litestream-timestamp"], create) {
		gcsError(w, http.StatusPreconditionFailed)
		return
	}
	writeJSON(w, http.StatusOK, s.resource(resource.Name))
}

func (s *gcsService) resource(key string) gcsResource {
	found, _ := s.find(key)
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(found.body, crc32.MakeTable(crc32.Castagnoli)))
	return gcsResource{
		Kind: "storage#object", Name: key, Bucket: Bucket, Size: fmt.Sprint(len(found.body)),
		CRC32C: base64.StdEncoding.EncodeToString(sum), TimeCreated: stored.Format(time.RFC3339),
		Metadata: map[string]string{"litestream-timestamp": found.timestamp},
	}
}

func (s *gcsService) list(w http.ResponseWriter, prefix string) {
	items := []gcsResource{}
	for _, key := range s.keys(prefix) {
		items = append(items, s.resource(key))
	}
	writeJSON(w, http.StatusOK, map[string]any{"kind": "storage#objects", "items": items})
}
