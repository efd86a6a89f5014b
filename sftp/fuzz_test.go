package sftp

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

// FuzzAnswers looks at what a server sends, at once and in two parts. Everything is
// passed on, and both find the same names.
func FuzzAnswers(f *testing.F) {
	names := []byte{0, 0, 0, 11, namesType, 0, 0, 0, 1, 0, 0, 0, 2, 'x', 'y'}
	f.Add(slices.Concat(names, []byte{0, 0, 0, 1, 101}, names), 7)
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, namesType, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}, 5)
	f.Fuzz(func(t *testing.T, sent []byte, at int) {
		at = max(0, min(at, len(sent)))
		memory := func(parts ...io.Reader) int64 {
			all := new(listings)
			l := all.begin(t.Context())
			defer all.end(l)
			got, err := io.ReadAll(&answers{Reader: io.MultiReader(parts...), listings: all})
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes are passed on, not %d, error %v", len(got), len(sent), err)
			}
			return l.memory
		}
		whole := memory(bytes.NewReader(sent))
		if parts := memory(bytes.NewReader(sent[:at]), bytes.NewReader(sent[at:])); whole < 0 || parts != whole {
			t.Errorf("names take %d bytes, and %d in two parts", whole, parts)
		}
	})
}
