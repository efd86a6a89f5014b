package maintain

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestMinTree compares the first of the smallest numbers of each range with what a look at
// each of them finds.
func TestMinTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		tree, values := newMinTree(n), make([]int, n)
		for i := range values {
			if values[i] = rng.IntN(3); values[i] == 2 {
				values[i] = math.MaxInt32 // as it is before it is set
				continue
			}
			tree.set(i, 9)
			tree.set(i, values[i])
		}
		for from := range n + 1 {
			for to := from; to <= n; to++ {
				wantAt, want := -1, math.MaxInt32
				for i := from; i < to; i++ {
					if values[i] < want {
						wantAt, want = i, values[i]
					}
				}
				if at, value := tree.min(from, to); at != wantAt || value != want {
					t.Fatalf("%v from %d to %d: %d at %d, want %d at %d", values, from, to, value, at, want, wantAt)
				}
			}
		}
	}
}
