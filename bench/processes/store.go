//go:build linux

package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/s3"
)

const replicaPath = "app.db"

// store is an S3 server in this process that counts what it is asked for.
type store struct {
	service storetest.Service
	http    *httptest.Server
	latency time.Duration // of each request

	requests, bytes atomic.Int64
}

func newStore(latency time.Duration) *store {
	s := &store{service: storetest.NewS3(), latency: latency}
	s.service.Set(nil)
	s.http = httptest.NewServer(s)
	return s
}

func (s *store) close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// ServeHTTP implements http.Handler.
func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	time.Sleep(s.latency)
	s.service.ServeHTTP(countingWriter{w, s}, r)
}

// url returns the URL of the replica for the processes.
func (s *store) url() string {
	return "s3://" + storetest.Bucket + "/" + replicaPath + "?endpoint=" + s.http.URL
}

func (s *store) client() *s3.ReplicaClient {
	c := s3.NewReplicaClient()
	c.Bucket, c.Path, c.Endpoint, c.ForcePathStyle = storetest.Bucket, replicaPath, s.http.URL, true
	c.AccessKeyID, c.SecretAccessKey = accessKey, secretKey
	return c
}

// The credentials, which the server does not compare.
const accessKey, secretKey = "key", "secret"

// traffic is what a store was asked for.
type traffic struct{ requests, bytes int64 }

// during returns what the store was asked for while f ran.
func (s *store) during(f func() error) (traffic, error) {
	requests, bytes := s.requests.Load(), s.bytes.Load()
	err := f()
	return traffic{s.requests.Load() - requests, s.bytes.Load() - bytes}, err
}

type countingWriter struct {
	http.ResponseWriter
	store *store
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.store.bytes.Add(int64(n))
	return n, err
}
