package bytesize

import "testing"

// FuzzParse formats what it has parsed, and parses that.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "10485760", "10MB", "10 MiB", "1tib", "-1", "9223372036854775807", "9223372036854775807KB", "8388608TiB", "-8388608TiB", "1e3", "0x10", "+5", "1 m b", "１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			if n != 0 {
				t.Errorf("%q: %d and %v", s, n, err)
			}
			return
		}
		if again, err := Parse(Format(n)); err != nil || again != n {
			t.Errorf("%q is %d, and %q is %d, %v", s, n, Format(n), again, err)
		}
	})
}
