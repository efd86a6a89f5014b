package storetest

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// NewS3 returns a service that speaks S3, with the bucket in the path.
func NewS3() Service { return NewS3Bucket(Bucket) }

// NewS3Bucket is NewS3 with a bucket of another name.
func NewS3Bucket(name string) Service { return &s3Service{bucket: name} }

type s3Service struct {
	objects
	bucket string
}

func (s *s3Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amz-Request-Id", "request")
	query := r.URL.Query()
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+s.bucket), "/")
	switch {
	case r.Method == http.MethodGet && key == "":
		s.list(w, query.Get("prefix"), query.Get("delimiter"))
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		found, ok := s.find(key)
		if !ok {
			s3Error(w, r, http.StatusNotFound, "NoSuchKey")
			return
		}
		w.Header().Set("X-Amz-Meta-Litestream-Timestamp", found.timestamp)
		serveBody(w, r, "Range", found.body)
	case r.Method == http.MethodPut && query.Has("partNumber"):
		number, _ := strconv.Atoi(query.Get("partNumber"))
		body := readBody(r)
		s.part(query.Get("uploadId"), number, body)
		w.Header().Set("Etag", etag(body))
	case r.Method == http.MethodPut:
		body := readBody(r)
		s.put(w, r, key, body)
		w.Header().Set("Etag", etag(body))
	case r.Method == http.MethodPost && query.Has("delete"):
		s.deleteAll(w, r)
	case r.Method == http.MethodPost && query.Has("uploads"):
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>", escaped(s.bucket), escaped(key), s.begin())
	case r.Method == http.MethodPost:
		body := s.whole(query.Get("uploadId"))
		if s.put(w, r, key, body) {
			fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>%s</ETag></CompleteMultipartUploadResult>", escaped(s.bucket), escaped(key), etag(body))
		}
	case query.Has("uploadId"):
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		s.delete(key)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *s3Service) put(w http.ResponseWriter, r *http.Request, key string, body []byte) bool {
	timestamp := cmp.Or(r.Header.Get("X-Amz-Meta-Litestream-Timestamp"), stored.Format(time.RFC3339Nano))
	ok := s.objects.put(key, body, timestamp, r.Header.Get("If-None-Match") == "*")
	if !ok {
		s3Error(w, r, http.StatusPreconditionFailed, "PreconditionFailed")
	}
	return ok
}

func s3Error(w http.ResponseWriter, r *http.Request, status int, code string) {
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
	}
}

// list lists the names that begin with prefix. Names that have the delimiter behind
// the prefix are folders, which are listed instead of them.
func (s *s3Service) list(w http.ResponseWriter, prefix, delimiter string) {
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name><Prefix>%s</Prefix>", escaped(s.bucket), escaped(prefix))
	folder := ""
	for _, key := range s.keys(prefix) {
		if name, _, ok := strings.Cut(key[len(prefix):], delimiter); ok && delimiter != "" {
			if path := prefix + name + delimiter; path != folder {
				folder = path
				fmt.Fprintf(w, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", escaped(folder))
			}
			continue
		}
		found, _ := s.find(key)
		fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size><LastModified>%s</LastModified></Contents>", escaped(key), len(found.body), found.modified().Format(time.RFC3339))
	}
	fmt.Fprint(w, "<IsTruncated>false</IsTruncated></ListBucketResult>")
}

func (s *s3Service) deleteAll(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Object []struct{ Key string }
	}
	_ = xml.Unmarshal(readBody(r), &request)
	for _, o := range request.Object {
		s.delete(o.Key)
	}
	fmt.Fprint(w, "<DeleteResult></DeleteResult>")
}
