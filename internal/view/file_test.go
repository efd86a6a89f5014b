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

// A file is listed if a listing has its name with the content that is known.
func TestIsListed(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	info := func(level int, size int64, version string) *ltx.FileInfo {
		return WithVersion(&ltx.FileInfo{Level: level, MinTXID: 3, MaxTXID: 4, Size: size, CreatedAt: at}, version)
	}
	f := newFile(info(1, 100, "a"), ltx.Header{PageSize: 512}, 1, 90)
	for name, c := range map[string]struct {
		files []*ltx.FileInfo
		want  bool
	}{
		"nothing":         {nil, false},
		"it":              {[]*ltx.FileInfo{info(0, 100, "a"), info(1, 100, "a")}, true},
		"another level":   {[]*ltx.FileInfo{info(0, 100, "a"), info(2, 100, "a")}, false},
		"another version": {[]*ltx.FileInfo{info(1, 100, "b")}, false},
		"another size":    {[]*ltx.FileInfo{info(1, 101, "a")}, false},
	} {
		if got := IsListed(f, c.files); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if snapshot := newFile(info(9, 100, ""), ltx.Header{Version: ltx.Version, PageSize: 512}, 1, 90); snapshot.Header == nil || f.Header != nil {
		t.Errorf("a snapshot has its header: %v, another file: %v", snapshot.Header != nil, f.Header != nil)
	}
	f.Stale.Store(true)
	if IsListed(f, []*ltx.FileInfo{info(1, 100, "a")}) {
		t.Error("a file whose object has other content is listed")
	}
	// Another content makes it a deleted file, and no version of that is known.
	g := newFile(info(1, 100, "a"), ltx.Header{PageSize: 512}, 1, 90)
	if g.Gone.Load() || g.Version.Load() == nil || *g.Version.Load() != "a" {
		t.Errorf("a new file is gone: %v", g.Gone.Load())
	}
	g.SetContent(info(1, 100, "b"), false)
	if !g.Gone.Load() || *g.Version.Load() != "a" {
		t.Errorf("a file with other content is gone: %v, version %s", g.Gone.Load(), *g.Version.Load())
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
