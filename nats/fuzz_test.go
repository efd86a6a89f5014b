package nats

import (
	"errors"
	"io/fs"
	"math"
	"net/url"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/replica"
)

// FuzzNewReplicaClientFromURL checks that every URL gives a client with an identity, or
// an error.
func FuzzNewReplicaClientFromURL(f *testing.F) {
	f.Add("h:4222", "/bucket/a/b", "chunk-size=16KiB&timeout=2s&tls=yes", "user", "password")
	f.Add("[::1]", "bucket", "creds=a&root-cas=b,c", "", "")
	f.Add("a,b", "//bucket/..", "nkey=&nkey=", "token", "")
	f.Fuzz(func(t *testing.T, host, urlPath, rawQuery, user, password string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		var userinfo *url.Userinfo
		switch {
		case password != "":
			userinfo = url.UserPassword(user, password)
		case user != "":
			userinfo = url.User(user)
		}
		client, err := NewReplicaClientFromURL("nats", host, urlPath, query, userinfo)
		switch {
		case (err == nil) == (client == nil):
			t.Fatalf("client %v, error %v", client, err)
		case err != nil && !errors.Is(err, fs.ErrInvalid):
			t.Fatal(err)
		case err == nil && client.(replica.Identifier).ReplicaIdentity() == "":
			t.Errorf("%q %q %q: no identity", host, urlPath, rawQuery)
		}
	})
}

// FuzzDescription checks that what a description says of the size and the chunks of an
// object is either refused, or places every byte in a chunk.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"name":"x","nuid":"abc","size":300,"chunks":3,"options":{"max_chunk_size":128},"headers":{"Litestream-Timestamp":["2026-01-02T03:04:05Z"]}}`), int64(44), "128")
	f.Add([]byte(`{"nuid":"a","size":9223372036854775807,"chunks":4294967295,"options":{"max_chunk_size":4294967295}}`), int64(1), "67108865")
	f.Add([]byte(`{"nuid":"a","size":1,"chunks":1}`), int64(1), "1 ")
	f.Add([]byte(`{"deleted":true}`), int64(0), "-1")
	f.Fuzz(func(t *testing.T, data []byte, last int64, size string) {
		if n, err := parseSize(size); err == nil && (n <= 0 || n > maxChunkSize) {
			t.Errorf("size of a chunk is %d", n)
		}
		d, err := parseDescription(data, 1, time.Unix(1, 0))
		if err != nil {
			return
		}
		_ = d.timestamp()
		if d.Deleted {
			return
		}
		if d.Size > math.MaxInt64 || (d.Size == 0) != (d.Chunks == 0) {
			t.Fatalf("%d bytes in %d chunks", d.Size, d.Chunks)
		}
		p := &placement{size: int64(d.Size), chunks: int(d.Chunks)}
		if d.Opts != nil {
			p.chunkSize = int64(d.Opts.ChunkSize)
		}
		if !p.isRegular(last) {
			return
		}
		for _, offset := range []int64{0, p.size / 2, p.size - last, p.size - 1} {
			index, begin := p.find(offset)
			if n := p.length(index); index < 0 || index >= p.chunks || offset < begin || offset >= begin+n {
				t.Errorf("byte %d of %d is in chunk %d of %d, at %d with %d bytes", offset, p.size, index, p.chunks, begin, n)
			}
		}
		if n := p.length(p.chunks - 1); n != last {
			t.Errorf("the last chunk has %d bytes, want %d", n, last)
		}
	})
}
