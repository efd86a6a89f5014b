package bytesize_test

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/bytesize"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "10485760": 10 << 20, "10MiB": 10 << 20, "10MB": 10e6, "1 GiB": 1 << 30, "5kb": 5000, "7b": 7, "-1": -1,
	} {
		if got, err := bytesize.Parse(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "MiB", "10 apples", "1.5MB", "9223372036854775807KB", "10MiBMiB"} {
		if got, err := bytesize.Parse(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}
