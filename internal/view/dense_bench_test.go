package view_test

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// BenchmarkDense_Add decodes and adds a page index in parts, per byte.
func BenchmarkDense_Add(b *testing.B) {
	e := viewtest.EncodeDense(b, 1, 4096, 1_000_000)
	f := e.Unread(b, nil)
	b.SetBytes(f.Dense.End - f.Dense.Start)
	for b.Loop() {
		d := e.Unread(b, nil).Dense
		for at := d.Start; at < d.End; at += 2 << 20 {
			if err := d.Add(e.Window(b, d, max(d.Start, at-64), min(d.End, at+2<<20))); err != nil {
				b.Fatal(err)
			}
		}
	}
}
