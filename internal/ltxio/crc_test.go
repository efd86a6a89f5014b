package ltxio

import (
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

func TestUpdateCRC(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{7})
	data := make([]byte, 1<<16+64)
	_, _ = rng.Read(data)
	for n := range 1200 {
		if n > 600 {
			n = int(rng.Uint64() % (1<<16 + 1))
		}
		b, crc := data[rng.Uint64()%64:][:n], rng.Uint64()
		if got, want := updateCRC(crc, b), crc64.Update(crc, crcTable, b); got != want {
			t.Fatalf("of %d bytes after %016x: %016x, want %016x", n, crc, got, want)
		}
	}
}

func BenchmarkUpdateCRC(b *testing.B) {
	for _, n := range []int{512, 4096, 65536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			page := make([]byte, n)
			b.SetBytes(int64(n))
			for crc := uint64(0); b.Loop(); {
				crc = updateCRC(crc, page)
			}
		})
	}
}
