package nats_test

import (
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/replica"
)

func BenchmarkScan(b *testing.B) {
	noEnvironment(b)
	url := testServer(b)
	bucket := newBucket(b, url)
	sqltest.Scan(b, newClient(b, url, bucket), func() replica.Client { return newClient(b, url, bucket) })
}

// BenchmarkDownload downloads a file by the client, and by the library.
func BenchmarkDownload(b *testing.B) {
	noEnvironment(b)
	url := testServer(b)
	bucket := newBucket(b, url)
	client := newClient(b, url, bucket)
	const size = 64 << 20
	write(b, client, 1, size)
	store := objectStore(b, url, bucket)
	b.Run("client", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if got := readRange(b, client, 1, 0, 0); len(got) != size {
				b.Fatalf("%d bytes", len(got))
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			got, err := store.GetBytes(b.Context(), "some/path/ltx/0/"+ltx.FormatFilename(1, 1))
			if err != nil || len(got) != size {
				b.Fatalf("%d bytes, %v", len(got), err)
			}
		}
	})
}

// BenchmarkPage reads a page of a large file at a time.
func BenchmarkPage(b *testing.B) {
	noEnvironment(b)
	url := testServer(b)
	for name, chunkSize := range map[string]int64{"16KiB": 16 << 10, "128KiB": 128 << 10, "512KiB": 512 << 10} {
		b.Run(name, func(b *testing.B) {
			client := newClient(b, url, newBucket(b, url))
			client.ChunkSize = chunkSize
			const size = 16 << 20
			write(b, client, 1, size)
			for i := 0; b.Loop(); i++ {
				readRange(b, client, 1, int64(i)*7919*4096%(size-4096), 4096)
			}
		})
	}
}
