package replicatest

import (
	"errors"
	"io/fs"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

func noVersions(p Properties) string {
	if p.NoVersions {
		return "NoVersions"
	}
	return ""
}

var versionCases = []testCase{
	{name: "a file that is replaced has another version", skip: noVersions, run: func(e *env) {
		f := file{0, 1, 1}
		e.writeBody(f, f.sized(0, 2))
		first := e.version(f)
		if again := e.version(f); again != first {
			e.Errorf("%s has version %q, then %q, and was not replaced", f, first, again)
		}
		e.writeBody(f, f.sized(1, 3))
		if second := e.version(f); second == first {
			e.Errorf("%s was replaced, and has version %q still", f, second)
		}
	}},

	{name: "a read gives the version asked for, or fs.ErrNotExist", skip: noVersions, run: func(e *env) {
		f := file{0, 1, 1}
		old, body := f.sized(0, 2), f.sized(1, 3)
		e.writeBody(f, old)
		first := e.version(f)
		for _, r := range [][2]int64{{0, 0}, {0, 100}, {100, 0}, {100, 50}} {
			got, err := read(clientio.WithVersion(e.ctx, first), e.client, f, r[0], r[1])
			if err != nil {
				e.Fatalf("%s in version %q: %v", f, first, err)
			}
			want := old[r[0]:]
			if r[1] > 0 {
				want = want[:r[1]]
			}
			e.wantBytes(f, got, want)
		}
		e.writeBody(f, body)
		for _, r := range [][2]int64{{0, 0}, {0, 100}, {100, 50}} {
			if _, err := read(clientio.WithVersion(e.ctx, first), e.client, f, r[0], r[1]); !errors.Is(err, fs.ErrNotExist) {
				e.Errorf("%s at %d in version %q, which was replaced: got error %v, want fs.ErrNotExist", f, r[0], first, err)
			}
		}
		got, err := read(clientio.WithVersion(e.ctx, e.version(f)), e.client, f, 0, 0)
		if err != nil {
			e.Fatal(err)
		}
		e.wantBytes(f, got, body)
	}},

	{name: "a read reports the version that a listing reports", skip: noVersions, run: func(e *env) {
		f := file{0, 1, 1}
		for seed := range uint64(2) {
			e.writeBody(f, f.sized(seed, 2))
			for _, r := range [][2]int64{{0, 0}, {0, 100}, {0, 1 << 20}, {100, 50}} {
				got := ""
				ctx := clientio.WithReadNoter(e.ctx, func(version string) { got = version })
				if _, err := read(ctx, e.client, f, r[0], r[1]); err != nil {
					e.Fatal(err)
				}
				if want := e.version(f); !clientio.IsSameVersion(got, want) {
					e.Errorf("a read of %s at %d reports version %q, and a listing %q", f, r[0], got, want)
				}
			}
		}
	}},
}

// version returns the version of a file that a listing reports.
func (e *env) version(f file) string {
	e.Helper()
	version := ""
	ctx := clientio.WithVersionNoter(e.ctx, func(info *ltx.FileInfo, v string) {
		if (file{info.Level, info.MinTXID, info.MaxTXID}) == f {
			version = v
		}
	})
	if _, err := list(ctx, e.client, f.level, 0, false); err != nil {
		e.Fatal(err)
	}
	if version == "" {
		e.Fatalf("the listing does not tell the version of %s, and Properties.NoVersions is false", f)
	}
	return version
}
