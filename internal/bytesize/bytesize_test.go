package bytesize_test

import (
	"math"
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

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1: "1", -1: "-1", 1000: "1000", 1024: "1KiB", 1536: "1536", -64 << 30: "-64GiB", 1 << 50: "1024TiB", math.MaxInt64: "9223372036854775807", math.MinInt64: "-8388608TiB",
	} {
		got := bytesize.Format(n)
		if back, err := bytesize.Parse(got); got != want || err != nil || back != n {
			t.Errorf("%d: %s, which is %d, %v", n, got, back, err)
		}
	}
}
