package ltxtest

import "math/rand/v2"

// Noise returns n bytes that do not compress, the same ones in every run. A test that
// compares sizes needs them: what randomblob makes compresses by a byte more or less.
func Noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return b
}
