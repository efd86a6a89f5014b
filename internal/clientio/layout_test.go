package clientio_test

import (
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/superfly/ltx"
)

func TestLayout(t *testing.T) {
	for _, tt := range []struct {
		layout                    clientio.Layout
		key, prefix, common, seek string
	}{
		{
			clientio.NewLayout("a/b"), "a/b/ltx/9/0000000000000001-000000000000001d.ltx",
			"a/b/ltx/9/", "a/b/ltx/", "a/b/ltx/9/000000000000001d",
		},
		{
			clientio.NewLayout(""), "ltx/9/0000000000000001-000000000000001d.ltx",
			"ltx/9/", "ltx/", "ltx/9/000000000000001d",
		},
		{
			clientio.NewHexLayout("a/b"), "a/b/0009/0000000000000001-000000000000001d.ltx",
			"a/b/0009/", "a/b/000", "a/b/0009/000000000000001d",
		},
		{
			clientio.NewHexLayout(""), "/0009/0000000000000001-000000000000001d.ltx",
			"/0009/", "/000", "/0009/000000000000001d",
		},
	} {
		got := []string{tt.layout.Key(9, 1, 0x1d), tt.layout.Prefix(9), tt.layout.CommonPrefix(), tt.layout.Seek(9, 0x1d)}
		if want := []string{tt.key, tt.prefix, tt.common, tt.seek}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzLayout(f *testing.F) {
	for _, name := range []string{
		ltx.FormatFilename(1, 2),
		"0000000000000002-0000000000000001.ltx",
		"0000000000000000-0000000000000000.ltx",
		"000000000000000A-000000000000000A.ltx",
		"ffffffffffffffff-ffffffffffffffff.ltx\n",
		"x/" + ltx.FormatFilename(1, 2),
	} {
		f.Add("a/ltx/3/" + name)
		f.Add("a/0003/" + name)
	}
	f.Add("a/ltx/03/" + ltx.FormatFilename(1, 2))
	f.Add("a/ltx/10/" + ltx.FormatFilename(1, 2))
	f.Add("a/ltx")
	f.Fuzz(func(t *testing.T, key string) {
		for _, layout := range []clientio.Layout{clientio.NewLayout("a"), clientio.NewHexLayout("a")} {
			level, minTXID, maxTXID, ok := layout.Parse(key)
			if !ok {
				continue
			}
			if got := layout.Key(level, minTXID, maxTXID); got != key {
				t.Errorf("%q is parsed as %q", key, got)
			}
			if minTXID == 0 || minTXID > maxTXID {
				t.Errorf("%q gives the range %d to %d", key, minTXID, maxTXID)
			}
		}
	})
}
