package causes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/ltxvfs/litestream/internal/storetest"
)

// The credentials that the server accepts.
const (
	keyID     = "AKIDCAUSES"
	secretKey = "s3cr3t-of-the-server"
)

// Fault answers a request in place of the server, or returns false.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// server is an S3 server with one bucket in the process of a test. Programs in other
// processes reach it, too. It verifies signatures. It is safe for concurrent use.
type server struct {
	storetest.Service
	http *httptest.Server
	stop chan struct{} // closed when requests that hang must end

	mu struct {
		sync.Mutex
		fault    Fault // nil: none
		requests int   // number of requests so far
	}
}

func newServer(t testing.TB) *server {
	s := &server{Service: storetest.NewS3(), stop: make(chan struct{})}
	s.Set(nil)
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		close(s.stop)
		s.http.Close()
	})
	return s
}

// host returns the address with the port.
func (s *server) host() string { return strings.TrimPrefix(s.http.URL, "http://") }

// setFault replaces the fault.
func (s *server) setFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.fault = f
}

// count returns the number of requests so far.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.requests
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.mu.requests++
	fault := s.mu.fault
	s.mu.Unlock()
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case fault != nil && fault(w, r):
	case r.Header.Get("Authorization") == "":
		refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
	case !strings.Contains(r.Header.Get("Authorization"), "Credential="+keyID+"/"):
		refuse(w, http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	case !isSigned(r):
		refuse(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	case bucket != storetest.Bucket:
		refuse(w, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	default:
		s.Service.ServeHTTP(w, r)
	}
}

// refuse answers with an error of S3.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amz-Request-Id", "request")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// isSigned reports whether a request is signed with the secret key: it signs the
// same request once more and compares.
func isSigned(r *http.Request) bool {
	given := r.Header.Get("Authorization")
	_, after, _ := strings.Cut(given, "SignedHeaders=")
	names, _, _ := strings.Cut(after, ",")
	scope := strings.Split(given, "/")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || len(scope) < 3 {
		return false
	}
	again := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{}, ContentLength: -1,
		URL: &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}}
	for name := range strings.SplitSeq(names, ";") {
		if name == "content-length" {
			again.ContentLength = r.ContentLength
		} else if name != "host" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	credentials := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secretKey}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(r.Context(), credentials, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", scope[2], at); err != nil {
		return false
	}
	return again.Header.Get("Authorization") == given
}

// Answer is a fault that answers with an error those requests that match selects.
func Answer(match func(*http.Request) bool, status int, code, message string) Fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if match(r) {
			refuse(w, status, code, message)
			return true
		}
		return false
	}
}

// hang is a fault that never answers the requests that match selects.
func (s *server) hang(match func(*http.Request) bool) Fault {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if !match(r) {
			return false
		}
		select {
		case <-r.Context().Done():
		case <-s.stop:
		}
		return true
	}
}

func all(*http.Request) bool { return true }

// reads selects reads of files.
func reads(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".ltx")
}

// writes selects writes of files.
func writes(r *http.Request) bool { return r.Method == http.MethodPut }
