package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// Files of every replica are laid out within the columns, none is lost, and the moments
// ascend.
func TestArrange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 5, 100, 10_000} {
		var files []litestream.File
		at := time.Unix(1e9, 0)
		add := func(level int, first, last ltx.TXID) {
			files = append(files, litestream.File{Level: level, MinTXID: first, MaxTXID: last, Size: 10, Time: at.Add(time.Duration(last) * time.Second), Reachable: true})
		}
		for i := range n {
			add(0, ltx.TXID(i+1), ltx.TXID(i+1))
		}
		for first := 1; first < n; {
			last := min(n, first+rng.IntN(50))
			add(1, ltx.TXID(first), ltx.TXID(last))
			first = last + 1
		}
		if n > 0 {
			add(9, 1, ltx.TXID(1+rng.IntN(n)))
		}
		d := arrange(files)
		if d.Files != len(files) || d.Bytes != int64(10*len(files)) || d.Moments != n || d.Columns > maxColumns || len(d.Last) != min(lastShown, max(0, n-1)) {
			t.Errorf("%d transactions: %d files, %d moments, %d columns, %d last", n, d.Files, d.Moments, d.Columns, len(d.Last))
		}
		sum := 0
		for _, l := range d.Levels {
			if len(l.Bars) > maxColumns {
				t.Errorf("%d transactions: level %d has %d bars", n, l.Level, len(l.Bars))
			}
			inBars := 0
			for _, b := range l.Bars {
				inBars += b.Files
				if b.From < 0 || b.From >= b.To || b.To > d.Columns || b.MinTXID > b.MaxTXID {
					t.Errorf("%d transactions: level %d has a bar %+v", n, l.Level, b)
				}
			}
			if inBars != l.Files {
				t.Errorf("%d transactions: level %d has %d files, and %d in bars", n, l.Level, l.Files, inBars)
			}
			sum += l.Files
		}
		if sum != len(files) {
			t.Errorf("%d transactions: %d of %d files are in levels", n, sum, len(files))
		}
		moments := 0
		for i, m := range d.Marks {
			moments += m.Moments
			if i > 0 && (m.At <= d.Marks[i-1].At || m.TXID <= d.Marks[i-1].TXID) {
				t.Errorf("%d transactions: marks %+v", n, d.Marks[i-1:i+1])
			}
		}
		if moments != d.Moments {
			t.Errorf("%d transactions: %d of %d moments have a mark", n, moments, d.Moments)
		}
		if n > 1 && (d.Newest.TXID != ltx.TXID(n).String() || d.Last[0].TXID != d.Newest.TXID || d.Newest.Time != at.Add(time.Duration(n)*time.Second).UnixMilli()) {
			t.Errorf("%d transactions: the newest is %+v", n, d.Newest)
		}
	}
}

// States that cannot be reached are no moments, and the files that end there are shown.
func TestArrange_Unreachable(t *testing.T) {
	d := arrange([]litestream.File{
		{Level: 0, MinTXID: 2, MaxTXID: 2}, {Level: 0, MinTXID: 7, MaxTXID: 7, Reachable: true}, {Level: 9, MinTXID: 1, MaxTXID: 6, Reachable: true},
	})
	if d.Moments != 2 || d.Oldest.TXID != ltx.TXID(6).String() || d.Levels[1].Files != 2 || d.Columns != 4 {
		t.Errorf("%+v", d)
	}
}

// A map has a character for each cell, whatever the cells have.
func TestDraw(t *testing.T) {
	m := &litestream.HydrationMap{
		Pages: 45, PagesPerCell: 10, Local: []uint32{10, 0, 5, 9, 5},
		Owners: []int{0, 1, 1, -1, 1}, Names: []string{"sqlite_schema", "t"},
	}
	if d := draw(m, false); d.Fill != "90479" || d.Owners != "011.1" || fmt.Sprint(d.Names) != "[sqlite_schema t]" {
		t.Errorf("%+v", d)
	}
	if d := draw(m, true); d.Fill != "99999" {
		t.Errorf("the map of a complete copy is %+v", d)
	}
	// Of many tables, the largest have a name.
	var many litestream.HydrationMap
	many.PagesPerCell = 1
	for i := range 20 {
		many.Names = append(many.Names, fmt.Sprint("t", i))
		for range i {
			many.Owners, many.Local = append(many.Owners, i), append(many.Local, 1)
		}
	}
	many.Pages = uint32(len(many.Local))
	if d := draw(&many, false); fmt.Sprint(d.Names) != "[t12 t13 t14 t15 t16 t17 t18 t19]" || strings.Count(d.Owners, "-") != 11*12/2 || strings.Count(d.Owners, "0") != 12 {
		t.Errorf("%+v", d)
	}
	if d := draw(new(litestream.HydrationMap), false); d.Pages != 0 || d.Fill != "" {
		t.Errorf("the map of nothing is %+v", d)
	}
}

// Reads of the last minutes are the differences of counters. They are bounded, and
// begin anew with the counters.
func TestReadHistory(t *testing.T) {
	var h readHistory
	now := time.Unix(1e9, 0)
	look := func(after time.Duration, local, storage int64) []readSample {
		now = now.Add(after)
		h.note(now, []opened{{id: "a", stats: litestream.Stats{LocalHits: local, CacheMisses: storage}}, {id: "b"}})
		return h.of("a")
	}
	if got := look(0, 100, 5); len(got) != 0 {
		t.Errorf("the first look gives %v", got)
	}
	if got := look(2*time.Second, 110, 6); len(got) != 1 || got[0].Local != 10 || got[0].Storage != 1 || got[0].To-got[0].From != 2000 {
		t.Errorf("the second look gives %v", got)
	}
	if got := look(100*time.Millisecond, 111, 6); len(got) != 1 {
		t.Errorf("a look of another person at once gives %v", got)
	}
	for range 1000 {
		look(2*time.Second, 200, 6)
	}
	if got := h.of("a"); len(got) > 150 || now.UnixMilli()-got[0].From > readsKept.Milliseconds() {
		t.Errorf("%d samples are kept, the first from %d", len(got), got[0].From)
	}
	if got := look(2*time.Second, 3, 0); len(got) != 0 {
		t.Errorf("after another open there are %v", got)
	}
	h.note(now, nil)
	if got := h.of("a"); len(got) != 0 || len(h.mu.counts) != 0 {
		t.Errorf("of a closed database there are %v", got)
	}
}

func TestRecent(t *testing.T) {
	var r recent[int]
	start := time.Unix(1e9, 0)
	for i := range 2 * maxRecent {
		r.put(fmt.Sprint(i), start.Add(time.Duration(i)*time.Second), i)
	}
	if len(r.mu.answers) != maxRecent {
		t.Errorf("%d answers are kept", len(r.mu.answers))
	}
	last := 2*maxRecent - 1
	if v, ok := r.get(fmt.Sprint(last), start); !ok || v != last {
		t.Errorf("the newest answer is %d, %t", v, ok)
	}
	if _, ok := r.get("0", start); ok {
		t.Error("the oldest answer is still there")
	}
	if _, ok := r.get(fmt.Sprint(last), start.Add(time.Hour)); ok {
		t.Error("an answer that is too old is of use")
	}
}

// Each kind of error has advice of its own, and errors that were joined are problems of
// their own.
func TestAdvice(t *testing.T) {
	seen := make(map[string]error)
	for _, err := range []error{
		litestream.ErrConflict, litestream.ErrCorrupt, litestream.ErrNoDatabase, fs.ErrPermission, litestream.ErrBufferInUse, context.DeadlineExceeded, litestream.ErrClosed, errors.New("any"),
	} {
		text := advice(fmt.Errorf("place: %w", err))
		if other := seen[text]; other != nil {
			t.Errorf("%v and %v have the advice %q", err, other, text)
		}
		seen[text] = err
	}
	a, b := errors.New("a"), errors.New("b")
	for _, test := range []struct {
		err  error
		want int
	}{{nil, 0}, {a, 1}, {fmt.Errorf("x: %w", errors.Join(a, b)), 2}, {errors.Join(a), 1}, {fmt.Errorf("%w: %w", a, b), 2}} {
		if got := parts(test.err); len(got) != test.want {
			t.Errorf("%v has the parts %q", test.err, got)
		}
	}
}
