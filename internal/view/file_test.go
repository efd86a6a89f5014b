package view

import (
	"testing"
	"time"

	"github.com/superfly/ltx"
)

// A listing carries the version of a file, and says the same of its time.
func TestWithVersion(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 0, 0, 7, time.UTC)
	info := &ltx.FileInfo{Level: 2, MinTXID: 3, MaxTXID: 4, Size: 5, CreatedAt: at}
	with := WithVersion(info, `"etag"`)
	if VersionOf(with) != `"etag"` || VersionOf(info) != "" || KeyOf(with) != KeyOf(info) || with.Size != 5 {
		t.Errorf("%+v has version %q", with, VersionOf(with))
	}
	if _, offset := with.CreatedAt.Zone(); !with.CreatedAt.Equal(at) || offset != 0 || with.CreatedAt.Format(time.DateTime) != at.Format(time.DateTime) {
		t.Errorf("the time is %v, want %v", with.CreatedAt, at)
	}
}

// Two listings tell of the same file if they agree in what both say of it.
func TestListing_Is(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	listing := func(size int64, at time.Time, version string) Listing {
		info := &ltx.FileInfo{Size: size, CreatedAt: at}
		if version != "" {
			info = WithVersion(info, version)
		}
		return ListingOf(info)
	}
	for name, tt := range map[string]struct {
		a, b Listing
		want bool
	}{
		"the same time":                       {listing(5, at, ""), listing(5, at, ""), true},
		"another size":                        {listing(5, at, ""), listing(6, at, ""), false},
		"another time":                        {listing(5, at, ""), listing(5, at.Add(1), ""), false},
		"no time":                             {listing(5, at, ""), listing(5, time.Time{}, ""), true},
		"the same version":                    {listing(5, at, "a"), listing(5, at, "a"), true},
		"the same version of another size":    {listing(5, at, "a"), listing(6, at, "a"), false},
		"the same version with another time":  {listing(5, at, "a"), listing(5, at.Add(1), "a"), true},
		"another version":                     {listing(5, at, "a"), listing(5, at, "b"), false},
		"a version and none":                  {listing(5, at, "a"), listing(5, at, ""), true},
		"a version and none, at another time": {listing(5, at, "a"), listing(5, at.Add(1), ""), false},
	} {
		if got := tt.a.Is(tt.b); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := tt.b.Is(tt.a); got != tt.want {
			t.Errorf("%s, the other way round: %v", name, got)
		}
	}
}
