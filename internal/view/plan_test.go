package view

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/superfly/ltx"
)

// parseFiles makes files of "level:min-max" with decimal numbers.
func parseFiles(t *testing.T, s string) []*ltx.FileInfo {
	t.Helper()
	var files []*ltx.FileInfo
	for _, f := range strings.Fields(s) {
		info := new(ltx.FileInfo)
		if _, err := fmt.Sscanf(f, "%d:%d-%d", &info.Level, &info.MinTXID, &info.MaxTXID); err != nil {
			t.Fatalf("%q: %v", f, err)
		}
		files = append(files, info)
	}
	return files
}

func formatFiles(files []*ltx.FileInfo) string {
	var s []string
	for _, f := range files {
		s = append(s, fmt.Sprintf("%d:%d-%d", f.Level, f.MinTXID, f.MaxTXID))
	}
	return strings.Join(s, " ")
}

// TestPlan_Choice pins down which of several ways is taken. That every way that
// is there is found, and leads to the right pages, is for the histories to
// show.
func TestPlan_Choice(t *testing.T) {
	for _, tc := range []struct {
		name  string
		from  ltx.TXID
		files string
		want  string
	}{
		{"the newest snapshot", 0, "9:1-5 9:1-9 0:10-10", "9:1-9 0:10-10"},
		{"the file that reaches furthest", 0, "9:1-9 1:10-12 2:8-14 0:15-15", "9:1-9 2:8-14 0:15-15"},
		{"a whole database of another level", 0, "9:1-9 2:1-12 1:10-12", "2:1-12"},
		{"of equals, the one that lives longer", 0, "1:1-9 9:1-9 0:10-10 1:10-10", "9:1-9 1:10-10"},
		{"no whole database for a little news", 20, "9:1-25 0:21-21 0:22-22 0:23-23 0:24-24 0:25-25", "0:21-21 0:22-22 0:23-23 0:24-24 0:25-25"},
		{"unless there is no other way", 20, "9:1-25 0:21-21 0:26-26", "0:21-21 9:1-25 0:26-26"},
		{"news, with little that is known", 20, "1:12-25 2:3-25 1:21-22 0:21-21", "1:12-25"},
		{"news after the first transaction", 1, "0:2-3 2:3-9 1:4-9", "0:2-3 1:4-9"},
		{"no news", 20, "9:1-20 0:20-20", ""},
		{"no news and no files", 20, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan, err := PlanLatest(tc.from, parseFiles(t, tc.files))
			if err != nil {
				t.Fatal(err)
			}
			if got := formatFiles(plan); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestSteps pins down which states are passed.
func TestSteps(t *testing.T) {
	for _, tc := range []struct {
		name  string
		from  ltx.TXID
		files string
		want  string
	}{
		{"each transaction", 20, "9:1-9 1:10-22 0:21-21 0:22-22 0:23-23", "0:21-21 0:22-22 0:23-23"},
		{"those that are left", 20, "9:1-30 2:10-30 1:18-22 1:23-26 0:26-26 0:27-27", "1:18-22 1:23-26 0:27-27 2:10-30"},
		{"with little that is known", 20, "2:1-22 1:10-22 0:21-22", "0:21-22"},
		{"no whole database", 20, "9:1-21 1:21-22", "1:21-22"},
		{"unless there is no other way", 20, "9:1-25 0:21-21 0:26-26", "0:21-21 9:1-25 0:26-26"},
		{"up to a gap", 20, "0:21-21 0:23-23", "0:21-21"},
		{"in any order", 20, "0:23-23 0:22-22 9:1-20 0:21-21", "0:21-21 0:22-22 0:23-23"},
		{"of two that reach as far, the one with less that is known", 20, "1:15-22 0:18-22 2:12-22", "0:18-22"},
		{"of equals, the one that lives longer", 20, "0:21-21 1:21-21 0:22-22", "1:21-21 0:22-22"},
		{"of equals, in the other order", 20, "1:21-21 0:21-21 2:22-22 0:22-22", "1:21-21 2:22-22"},
		{"no news", 20, "9:1-20 0:20-20", ""},
		{"no files", 20, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := formatFiles(Steps(tc.from, parseFiles(t, tc.files))); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestPlan_Errors(t *testing.T) {
	if _, err := PlanLatest(0, nil); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("no files: %v", err)
	}
	if plan, err := PlanLatest(0, parseFiles(t, "0:0-0")); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("no transactions: %v, %v", plan, err)
	}
	for _, tc := range []struct {
		from        ltx.TXID
		files       string
		first, last ltx.TXID
	}{
		{0, "9:1-4 0:5-5 0:7-7", 6, 6},
		{0, "9:1-4 0:9-9 1:7-9", 5, 6},
		{0, "0:3-3", 1, 2},
		{4, "0:7-7", 5, 6},
		{0, "0:18446744073709551615-18446744073709551615", 1, math.MaxUint64 - 1},
		{0, "9:1-4 8:18446744073709551615-18446744073709551615", 5, math.MaxUint64 - 1},
	} {
		_, err := PlanLatest(tc.from, parseFiles(t, tc.files))
		var missing *errs.MissingError
		if !errors.As(err, &missing) || missing.First != tc.first || missing.Last != tc.last {
			t.Errorf("%s from %d: %v, want %d to %d missing", tc.files, tc.from, err, tc.first, tc.last)
		}
	}
	for target, want := range map[ltx.TXID]string{
		3: "0000000000000003 lies before the oldest that is kept",
		6: "0000000000000006 was compacted with later ones, the one before it is 0000000000000005",
		8: "0000000000000008 was compacted with later ones, the one before it is 0000000000000007",
		9: "", 11: "000000000000000b was compacted with later ones, the one before it is 0000000000000009", 12: "000000000000000c is later than the newest, 000000000000000b",
	} {
		_, err := PlanTXID(0, target, parseFiles(t, "9:1-4 0:5-5 1:6-7 1:8-9 0:11-11"))
		if want == "" {
			if err != nil {
				t.Errorf("%d: %v", target, err)
			}
			continue
		}
		if !errors.Is(err, errs.ErrTxNotAvailable) || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%d: %v, want %s", target, err, want)
		}
	}
	if _, err := PlanTXID(0, 6, parseFiles(t, "9:1-4 1:5-7")); !errors.Is(err, errs.ErrTxNotAvailable) {
		t.Errorf("in the middle of a file: %v", err)
	}
}

// TestNotAvailable checks what an error says about a state that the files do not
// give: which states they give.
func TestNotAvailable(t *testing.T) {
	for _, tc := range []struct {
		target      ltx.TXID
		files, want string
	}{
		{9, "9:1-4 0:5-5", "the newest is 0000000000000005"},
		{2, "9:1-4 0:5-5", "the oldest is 0000000000000004"},
		{6, "9:1-4 1:5-7", "it lies within a compacted file, and the nearest are 0000000000000004 and 0000000000000007"},
		{6, "9:1-4 9:1-5 1:6-9 0:10-10", "it lies within a compacted file, and the nearest are 0000000000000005 and 0000000000000009"},
		{3, "0:5-5", "no transaction can be travelled to"},
	} {
		if err := NotAvailable(tc.target, parseFiles(t, tc.files)); !errors.Is(err, errs.ErrTxNotAvailable) || err.Error() != "transaction not available: "+tc.want {
			t.Errorf("%d of %s: %v, want %s", tc.target, tc.files, err, tc.want)
		}
	}
}

// TestFindByTime_Oldest looks for times before the oldest state. The error says
// which state that is, and of when.
func TestFindByTime_Oldest(t *testing.T) {
	header := func(_ context.Context, f *ltx.FileInfo) (int64, error) { return int64(f.MaxTXID) * 1000, nil }
	for _, tc := range []struct {
		at          int64
		files, want string
	}{
		{500, "0:1-1 0:2-2", "the oldest is younger: 0000000000000001 of 1970-01-01T00:00:01.000Z"},
		{3999, "9:1-4 0:5-5", "the oldest is younger: 0000000000000004 of 1970-01-01T00:00:04.000Z"},
		{3500, "0:3-3 9:1-6 0:7-7", "0000000000000003 lies before the oldest snapshot: the oldest is 0000000000000006 of 1970-01-01T00:00:06.000Z"},
		{500, "0:3-3", "the oldest is younger: no transaction can be travelled to"},
	} {
		_, _, err := FindByTime(t.Context(), Points(parseFiles(t, tc.files)), tc.at, header)
		if !errors.Is(err, errs.ErrTxNotAvailable) || err.Error() != "transaction not available: "+tc.want {
			t.Errorf("%d of %s: %v, want %s", tc.at, tc.files, err, tc.want)
		}
	}
	failing := func(context.Context, *ltx.FileInfo) (int64, error) { return 0, errs.ErrClosed }
	for _, files := range []string{"0:1-1 0:2-2", "9:1-4", "9:1-4 0:5-5 9:1-6"} {
		if p, _, err := FindByTime(t.Context(), Points(parseFiles(t, files)), 1<<50, failing); !errors.Is(err, errs.ErrClosed) || p.TXID != 0 {
			t.Errorf("%s, without headers: %d, %v", files, p.TXID, err)
		}
	}
	if _, _, err := FindByTime(t.Context(), nil, 1, header); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("no points: %v", err)
	}
	broken := func(ctx context.Context, f *ltx.FileInfo) (int64, error) {
		if f.MaxTXID == 4 {
			return 0, errs.ErrClosed
		}
		return header(ctx, f)
	}
	ps := Points(parseFiles(t, "0:4-4 9:1-4 0:5-5"))
	if got := describeOldest(t.Context(), ps, broken); got != "0000000000000004" {
		t.Errorf("without a header: %s", got)
	}
}

// TestFindByTime_Gap looks for times around those of transactions that are missing. Where
// the missing ones can be older than the time, the state is not known.
func TestFindByTime_Gap(t *testing.T) {
	header := func(_ context.Context, f *ltx.FileInfo) (int64, error) { return int64(f.MaxTXID) * 1000, nil }
	for _, tc := range []struct {
		files string
		at    int64
		want  ltx.TXID // 0: transactions are missing
	}{
		{"0:1-1 0:2-2 0:3-3", 1000, 1},
		{"0:1-1 0:2-2 0:3-3", 1999, 1},
		{"0:1-1 0:2-2 0:3-3", 2000, 2},
		{"0:1-1 0:2-2 0:3-3", 9000, 3}, // there is nothing after it that could be missing
		{"0:1-1 0:2-2 0:5-5 0:6-6", 1999, 1},
		{"0:1-1 0:2-2 0:5-5 0:6-6", 2000, 2},
		{"0:1-1 0:2-2 0:5-5 0:6-6", 2001, 0}, // the third one may be of then
		{"0:1-1 0:2-2 0:5-5 0:6-6", 5000, 0},
		{"0:1-1 0:2-2 0:5-5 0:6-6", 9000, 0},
		{"0:1-1 0:2-2 0:5-5 9:1-6 0:7-7", 6000, 6},
		{"0:1-1 0:2-2 0:5-5 9:1-6 0:7-7", 7000, 7},
	} {
		p, ms, err := FindByTime(t.Context(), Points(parseFiles(t, tc.files)), tc.at, header)
		var missing *errs.MissingError
		if tc.want == 0 {
			if !errors.As(err, &missing) || missing.First != 3 || missing.Last != 4 {
				t.Errorf("%d of %s: transaction %d, %v; want 3 and 4 missing", tc.at, tc.files, p.TXID, err)
			}
		} else if err != nil || p.TXID != tc.want || ms != int64(tc.want)*1000 {
			t.Errorf("%d of %s: transaction %d of %d, %v; want %d", tc.at, tc.files, p.TXID, ms, err, tc.want)
		}
	}
}

// TestPoints_LeavesOutExpired compares with the definition: a point that
// nothing leads to is left out if a file that begins right after what can be
// reached leads past it.
func TestPoints_LeavesOutExpired(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var files []*ltx.FileInfo
		for range 1 + rng.IntN(12) {
			first := ltx.TXID(1 + rng.IntN(12))
			if rng.IntN(4) == 0 {
				first = 1
			}
			files = append(files, &ltx.FileInfo{MinTXID: first, MaxTXID: first + ltx.TXID(rng.IntN(4))})
		}
		reachable := map[ltx.TXID]bool{0: true}
		for txid := ltx.TXID(1); txid < 20; txid++ {
			reachable[txid] = slices.ContainsFunc(files, func(f *ltx.FileInfo) bool {
				return f.MaxTXID == txid && slices.ContainsFunc(slices.Collect(maps.Keys(reachable)), func(from ltx.TXID) bool {
					return reachable[from] && from < txid && (from > 0 || f.MinTXID == 1) && f.MinTXID <= from+1
				})
			})
		}
		var want []ltx.TXID
		for txid := ltx.TXID(1); txid < 20; txid++ {
			ends := slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID == txid })
			expired := slices.ContainsFunc(files, func(f *ltx.FileInfo) bool {
				return f.MinTXID > 1 && f.MaxTXID > txid && slices.ContainsFunc(slices.Collect(maps.Keys(reachable)), func(from ltx.TXID) bool {
					return reachable[from] && from > 0 && from < txid && f.MinTXID <= from+1
				})
			})
			if ends && (reachable[txid] || !expired) {
				want = append(want, txid)
			}
		}
		var got []ltx.TXID
		for _, p := range Points(files) {
			got = append(got, p.TXID)
		}
		if !slices.Equal(got, want) {
			var names []string
			for _, f := range files {
				names = append(names, KeyOf(f).String())
			}
			t.Fatalf("points %v, want %v, of %v", got, want, names)
		}
	}
}
