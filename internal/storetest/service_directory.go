package storetest

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// DirectoryBucket is the bucket of a DirectoryService.
const DirectoryBucket = "bucket--use1-az4--x-s3"

// DirectoryService is a Service that behaves as AWS documents it of directory
// buckets, which are those of S3 Express One Zone.
type DirectoryService struct {
	s3Service
	PageSize int           // of listings
	Lifetime time.Duration // of a session

	sessions atomic.Int64 // number of sessions that were made
}

// NewDirectory returns a service with the defaults of AWS.
func NewDirectory() *DirectoryService {
	return &DirectoryService{s3Service: s3Service{bucket: Bucket}, PageSize: 1000, Lifetime: 5 * time.Minute}
}

// Sessions returns the number of sessions that were made.
func (s *DirectoryService) Sessions() int { return int(s.sessions.Load()) }

// ServeHTTP implements http.Handler.
func (s *DirectoryService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Amz-Request-Id", "request")
	rest, ok := strings.CutPrefix(r.URL.Path, "/"+DirectoryBucket)
	query := r.URL.Query()
	switch {
	case !ok:
		s3Error(w, r, http.StatusNotFound, "NoSuchBucket")
		return
	case r.Method == http.MethodGet && query.Has("session"):
		s.createSession(w, r)
		return
	case !s.hasSession(r):
		s3Error(w, r, http.StatusForbidden, "AccessDenied")
		return
	case r.Header.Get("Content-Md5") != "":
		s3Error(w, r, http.StatusBadRequest, "InvalidRequest")
		return
	case r.Method == http.MethodPost && query.Has("delete") && !hasChecksum(r):
		s3Error(w, r, http.StatusBadRequest, "InvalidRequest")
		return
	case r.Header.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") != "":
		s3Error(w, r, http.StatusBadRequest, "InvalidRequest")
		return
	case r.Method == http.MethodGet && strings.Trim(rest, "/") == "":
		s.list(w, r)
		return
	}
	r.URL.Path = "/" + Bucket + rest
	s.s3Service.ServeHTTP(w, r)
}

// createSession answers a request for a session, which is signed with the
// credentials of the user.
func (s *DirectoryService) createSession(w http.ResponseWriter, r *http.Request) {
	if auth := r.Header.Get("Authorization"); !strings.Contains(auth, "Credential=testkey/") || !strings.Contains(auth, "/s3express/aws4_request") {
		s3Error(w, r, http.StatusForbidden, "AccessDenied")
		return
	}
	s.sessions.Add(1)
	expires := time.Now().Add(s.Lifetime) // the token has this time
	fmt.Fprintf(w, `<?xml version="1.0"?><CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials><SessionToken>token-%d</SessionToken>`+
		`<SecretAccessKey>sessionsecret</SecretAccessKey><AccessKeyId>sessionkey</AccessKeyId><Expiration>%s</Expiration></Credentials></CreateSessionResult>`,
		expires.UnixNano(), expires.UTC().Format(time.RFC3339))
}

// hasSession reports whether a request is signed with the credentials of a session
// that has not expired.
func (s *DirectoryService) hasSession(r *http.Request) bool {
	text, ok := strings.CutPrefix(r.Header.Get("X-Amz-S3session-Token"), "token-")
	nanoseconds, err := strconv.ParseInt(text, 10, 64)
	return ok && err == nil && time.Now().UnixNano() < nanoseconds &&
		strings.Contains(r.Header.Get("Authorization"), "Credential=sessionkey/")
}

func hasChecksum(r *http.Request) bool {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") {
			return true
		}
	}
	return false
}

// list lists names in the order of their checksums, which is none. A token is the
// number of names that were listed.
func (s *DirectoryService) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	if query.Has("start-after") || prefix != "" && !strings.HasSuffix(prefix, "/") || delimiter != "" && delimiter != "/" {
		s3Error(w, r, http.StatusBadRequest, "InvalidRequest")
		return
	}
	names := s.keys(prefix)
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(checksum(a), checksum(b)) })
	size := s.PageSize
	if n, err := strconv.Atoi(query.Get("max-keys")); err == nil {
		size = min(size, n)
	}
	after, _ := strconv.ParseUint(query.Get("continuation-token"), 10, 32)
	names = slices.DeleteFunc(names, func(name string) bool { return uint64(checksum(name)) < after })
	fmt.Fprintf(w, `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>%s</Name><Prefix>%s</Prefix>`, DirectoryBucket, escaped(prefix))
	folders := map[string]bool{}
	listed := 0
	for len(names) > 0 && listed < size {
		key := names[0]
		names = names[1:]
		if name, _, ok := strings.Cut(key[len(prefix):], "/"); ok && delimiter != "" {
			if folder := prefix + name + "/"; !folders[folder] {
				folders[folder] = true
				fmt.Fprintf(w, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", escaped(folder))
				listed++
			}
			continue
		}
		found, ok := s.find(key)
		if !ok {
			continue // it was deleted meanwhile
		}
		fmt.Fprintf(w, "<Contents><Key>%s</Key><ETag>%s</ETag><Size>%d</Size><LastModified>%s</LastModified><StorageClass>EXPRESS_ONEZONE</StorageClass></Contents>",
			escaped(key), etag(found.body), len(found.body), stored.Format(time.RFC3339))
		listed++
	}
	if len(names) > 0 {
		fmt.Fprintf(w, "<IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken></ListBucketResult>", checksum(names[0]))
		return
	}
	fmt.Fprint(w, "<IsTruncated>false</IsTruncated></ListBucketResult>")
}

func checksum(name string) uint32 { return crc32.ChecksumIEEE([]byte(name)) }
