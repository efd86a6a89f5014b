//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/s3"
)

// serverRole is the role of a process that speaks S3. Each bucket is a store of its
// own, so that a listing takes as long however many there are.
type serverRole struct {
	Latency time.Duration // of each request
}

func (r *serverRole) run() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: &buckets{latency: r.Latency}}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if err := json.NewEncoder(os.Stdout).Encode("http://" + listener.Addr().String()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the other end closes it
		_ = server.Close()
	}()
	if err := <-ended; err != http.ErrServerClosed {
		return err
	}
	return nil
}

// buckets serves the buckets of a store.
type buckets struct {
	latency time.Duration

	mu struct {
		sync.Mutex
		byName map[string]storetest.Service
	}
}

func (b *buckets) bucket(name string) storetest.Service {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.byName == nil {
		b.mu.byName = make(map[string]storetest.Service)
	}
	if b.mu.byName[name] == nil {
		b.mu.byName[name] = storetest.NewS3Bucket(name)
		b.mu.byName[name].Set(nil)
	}
	return b.mu.byName[name]
}

// ServeHTTP implements http.Handler.
func (b *buckets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(b.latency)
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	b.bucket(name).ServeHTTP(w, r)
}

// store is a server that runs.
type store struct {
	*child
	endpoint string
}

func startStore(latency time.Duration) (*store, error) {
	c, err := startRole("server", role{Server: &serverRole{latency}})
	if err != nil {
		return nil, err
	}
	s := &store{child: c}
	if err := c.read(&s.endpoint); err != nil {
		return nil, fmt.Errorf("start the server: %w\n%w", err, c.end())
	}
	return s, nil
}

// url returns the URL of the replica in a bucket.
func (s *store) url(bucket string) string { return "s3://" + bucket + "/app?endpoint=" + s.endpoint }

// credentials are those of the environment. The server does not compare them.
var credentials = map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}

// client returns a client for the replica in a bucket.
func (s *store) client(bucket string) *s3.ReplicaClient {
	c := s3.NewReplicaClient()
	c.Bucket, c.Path, c.Endpoint, c.ForcePathStyle, c.Region = bucket, "app", s.endpoint, true, "us-east-1"
	c.AccessKeyID, c.SecretAccessKey = credentials["AWS_ACCESS_KEY_ID"], credentials["AWS_SECRET_ACCESS_KEY"]
	return c
}
