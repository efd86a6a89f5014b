package storetest

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// OSSService is a Service that behaves as Alibaba Cloud documents its Object Storage
// Service, with the bucket in the path. Requests have to be signed with the key
// testkey, but the signature is not checked.
type OSSService struct {
	objects
	Versioning string // Enabled, Suspended, or empty
	PageSize   int    // of listings
}

// NewOSS returns a service with the defaults.
func NewOSS() *OSSService { return &OSSService{PageSize: 1000} }

// ServeHTTP implements http.Handler.
func (s *OSSService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Oss-Request-Id", "request")
	query := r.URL.Query()
	key, ok := strings.CutPrefix(r.URL.Path, "/"+Bucket+"/")
	switch {
	case !strings.HasPrefix(r.Header.Get("Authorization"), "OSS4-HMAC-SHA256 Credential=testkey/"):
		ossError(w, r, http.StatusForbidden, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.")
	case !ok:
		ossError(w, r, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist.")
	case query.Has("versioning"):
		fmt.Fprintf(w, "<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>", s.Versioning)
	case r.Method == http.MethodGet && key == "":
		s.list(w, query)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		s.read(w, r, key)
	case r.Method == http.MethodPut && query.Has("partNumber"):
		number, _ := strconv.Atoi(query.Get("partNumber"))
		body := readBody(r)
		s.part(query.Get("uploadId"), number, body)
		w.Header().Set("Etag", etag(body))
	case r.Method == http.MethodPut:
		body := readBody(r)
		if s.store(w, r, key, body) {
			w.Header().Set("Etag", etag(body))
		}
	case r.Method == http.MethodPost && query.Has("delete"):
		s.deleteAll(w, r)
	case r.Method == http.MethodPost && query.Has("uploads"):
		if _, exists := s.find(key); exists && s.forbids(r) {
			ossError(w, r, http.StatusConflict, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.")
			return
		}
		id := s.begin() + "|" + r.Header.Get("X-Oss-Meta-Litestream-Timestamp")
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>", Bucket, escaped(key), id)
	case r.Method == http.MethodPost:
		body := s.whole(query.Get("uploadId"))
		_, timestamp, _ := strings.Cut(query.Get("uploadId"), "|")
		r.Header.Set("X-Oss-Meta-Litestream-Timestamp", timestamp)
		if s.store(w, r, key, body) {
			fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>%s</ETag></CompleteMultipartUploadResult>", Bucket, escaped(key), etag(body))
		}
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	}
}

// forbids reports whether a request must not replace an object. With versioning, the
// header has no effect.
func (s *OSSService) forbids(r *http.Request) bool {
	return r.Header.Get("X-Oss-Forbid-Overwrite") == "true" && s.Versioning == ""
}

func (s *OSSService) store(w http.ResponseWriter, r *http.Request, key string, body []byte) bool {
	timestamp := cmp.Or(r.Header.Get("X-Oss-Meta-Litestream-Timestamp"), stored.Format(time.RFC3339Nano))
	ok := s.put(key, body, timestamp, s.forbids(r))
	if !ok {
		ossError(w, r, http.StatusConflict, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.")
	}
	return ok
}

// read serves an object. Without the header for the standard behaviour, a range
// beyond its end is the whole object.
func (s *OSSService) read(w http.ResponseWriter, r *http.Request, key string) {
	found, ok := s.find(key)
	if !ok {
		ossError(w, r, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	w.Header().Set("X-Oss-Meta-Litestream-Timestamp", found.timestamp)
	w.Header().Set("X-Oss-Object-Type", "Normal")
	header := "Range"
	if r.Header.Get("X-Oss-Range-Behavior") != "standard" {
		header = "Not-A-Range"
	}
	serveBody(w, r, header, found.body)
}

func ossError(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><RequestId>request</RequestId><HostId>host</HostId></Error>`, code, message)
	}
}

// list lists names in order, url-encoded as the SDK asks for them.
func (s *OSSService) list(w http.ResponseWriter, query url.Values) {
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	after := cmp.Or(query.Get("continuation-token"), query.Get("start-after"))
	size := s.PageSize
	if n, err := strconv.Atoi(query.Get("max-keys")); err == nil {
		size = min(size, n)
	}
	encode := func(text string) string { return text }
	if query.Get("encoding-type") == "url" {
		encode = url.QueryEscape
	}
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>%s</Name><Prefix>%s</Prefix><EncodingType>%s</EncodingType>`, Bucket, encode(prefix), query.Get("encoding-type"))
	listed, last, more, folder := 0, "", false, ""
	for _, key := range s.keys(prefix) {
		if key <= after {
			continue
		}
		name, _, isFolder := strings.Cut(key[len(prefix):], delimiter)
		isFolder = isFolder && delimiter != ""
		if path := prefix + name + delimiter; isFolder && (path == folder || strings.HasPrefix(after, path)) {
			continue
		}
		if listed == size {
			more = true
			break
		}
		listed++
		if last = key; isFolder {
			folder = prefix + name + delimiter
			fmt.Fprintf(w, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", encode(folder))
			continue
		}
		found, _ := s.find(key)
		fmt.Fprintf(w, "<Contents><Key>%s</Key><ETag>%s</ETag><Size>%d</Size><LastModified>%s</LastModified><Type>Normal</Type></Contents>",
			encode(key), etag(found.body), len(found.body), found.modified().Format("2006-01-02T15:04:05.000Z"))
	}
	if more {
		fmt.Fprintf(w, "<NextContinuationToken>%s</NextContinuationToken>", encode(last))
	}
	fmt.Fprintf(w, "<KeyCount>%d</KeyCount><IsTruncated>%t</IsTruncated></ListBucketResult>", listed, more)
}

func (s *OSSService) deleteAll(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Object []struct{ Key string }
	}
	_ = xml.Unmarshal(readBody(r), &request)
	fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><DeleteResult><EncodingType>url</EncodingType>`)
	for _, o := range request.Object {
		s.delete(o.Key)
		fmt.Fprintf(w, "<Deleted><Key>%s</Key></Deleted>", url.QueryEscape(o.Key))
	}
	fmt.Fprint(w, "</DeleteResult>")
}
