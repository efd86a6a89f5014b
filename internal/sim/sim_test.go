package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

// A client in good weather is a client like others.
func TestConformance(t *testing.T) {
	for _, byLevel := range []bool{false, true} {
		t.Run(fmt.Sprint(byLevel), func(t *testing.T) {
			replicatest.Run(t, func(*testing.T) replica.Client {
				return NewBucket(1, BreakNothing, NewTrace()).Client("client", byLevel)
			}, replicatest.Properties{NoInit: true, NoListAll: byLevel, ManyFiles: -1, LargeBody: -1})
		})
	}
}

// txFile returns a file whose page 1 says which state it has.
func txFile(level int, minTXID, maxTXID ltx.TXID, commit uint32, pages map[uint32]byte) []byte {
	f := &ltxFile{pages: make(map[uint32][]byte)}
	f.header = ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 512, Commit: commit, MinTXID: minTXID, MaxTXID: maxTXID, Timestamp: int64(maxTXID)}
	for pgno, fill := range pages {
		f.pages[pgno] = bytes.Repeat([]byte{fill}, 512)
		if pgno == 1 {
			f.pages[pgno][63] = fill
			clear(f.pages[pgno][60:63])
		}
	}
	return encode(f)
}

// history returns that of three transactions: pages 1 and 2, page 2, and page 3.
func history(t *testing.T) *History {
	t.Helper()
	h := new(History)
	for i, body := range [][]byte{
		txFile(0, 1, 1, 2, map[uint32]byte{1: 1, 2: 1}), txFile(0, 2, 2, 2, map[uint32]byte{1: 2, 2: 2}), txFile(0, 3, 3, 3, map[uint32]byte{1: 3, 3: 3}),
	} {
		txid := ltx.TXID(i + 1)
		if v := h.Put(0, txid, txid, body); v != nil {
			t.Fatal(v)
		}
	}
	return h
}

func TestHistory(t *testing.T) {
	h := history(t)
	if n := h.Newest(); n != 3 || h.Node(0) != 0 || h.Node(2) != 2 || h.Node(3) != 3 {
		t.Errorf("newest %d, states %d and %d", n, h.Node(2), h.Node(3))
	}
	if image := h.Image(3); len(image) != 3*512 || image[512] != 2 || image[1024] != 3 {
		t.Errorf("image of %d bytes, pages begin with %d and %d", len(image), image[512], image[1024])
	}
	for _, tt := range []struct {
		name  string
		level int
		min   ltx.TXID
		max   ltx.TXID
		body  []byte
		rule  Rule
	}{
		{"merged", 1, 1, 3, txFile(1, 1, 3, 3, map[uint32]byte{1: 3, 2: 2, 3: 3}), ""},
		{"again", 0, 2, 2, txFile(0, 2, 2, 2, map[uint32]byte{1: 2, 2: 2}), ""},
		{"part", 1, 3, 3, txFile(1, 3, 3, 3, map[uint32]byte{1: 3, 3: 3}), ""},
		{"more than it needs", 1, 2, 3, txFile(1, 2, 3, 3, map[uint32]byte{1: 3, 2: 2, 3: 3}), ""},
		{"old page", 1, 1, 3, txFile(1, 1, 3, 3, map[uint32]byte{1: 3, 2: 1, 3: 3}), RuleMerged},
		{"page missing", 1, 2, 3, txFile(1, 2, 3, 3, map[uint32]byte{1: 3, 3: 3}), RuleMerged},
		{"size", 1, 2, 3, txFile(1, 2, 3, 4, map[uint32]byte{1: 3, 2: 2, 3: 3}), RuleMerged},
		{"other content", 0, 2, 2, txFile(0, 2, 2, 2, map[uint32]byte{1: 2, 2: 9}), RuleOneFile},
		{"gap", 0, 5, 5, txFile(0, 5, 5, 3, map[uint32]byte{1: 5}), RuleOneFile},
		{"future", 1, 2, 4, txFile(1, 2, 4, 3, map[uint32]byte{1: 4, 2: 2, 3: 3}), RuleOneFile},
		{"damaged", 1, 1, 3, txFile(1, 1, 3, 3, map[uint32]byte{1: 3, 2: 2, 3: 3})[:300], RuleMerged},
	} {
		v := history(t).Put(tt.level, tt.min, tt.max, tt.body)
		if got := ruleOf(v); got != tt.rule {
			t.Errorf("%s: got %v, want a violation of %q", tt.name, v, tt.rule)
		}
	}
}

func ruleOf(v *Violation) Rule {
	if v == nil {
		return ""
	}
	return v.Rule
}

func TestModel(t *testing.T) {
	m := NewModel()
	a := m.Add(0, "a", map[int64]Row{1: {Value: 10, Size: 30}})
	b := m.Add(a, "a", map[int64]Row{1: {Value: 11, Size: 30}, 2: {Value: 12, Size: 3}})
	c := m.Add(a, "b", map[int64]Row{})
	for _, tt := range []struct {
		of, in Node
		want   bool
	}{{b, a, true}, {b, b, true}, {b, 0, true}, {a, b, false}, {c, b, false}, {b, c, false}, {c, a, true}} {
		if got := m.Has(tt.of, tt.in); got != tt.want {
			t.Errorf("%d has %d: %v", tt.of, tt.in, got)
		}
	}
	there := m.Rows(b)
	content := map[int64]string{1: there[1].Content(1), 2: there[2].Content(2)}
	value := map[int64]int64{1: 11, 2: 12}
	if v := m.Check(b, content, value); v != nil {
		t.Error(v)
	}
	for name, check := range map[string]func() *Violation{
		"another state":   func() *Violation { return m.Check(a, content, value) },
		"unknown state":   func() *Violation { return m.Check(9, content, value) },
		"row missing":     func() *Violation { return m.Check(b, map[int64]string{1: content[1]}, map[int64]int64{1: 11}) },
		"content":         func() *Violation { return m.Check(b, map[int64]string{1: content[1] + "x", 2: content[2]}, value) },
		"additional rows": func() *Violation { return m.Check(c, content, value) },
		"a failed commit": func() *Violation {
			m.SetFate(b, Failed)
			defer m.SetFate(b, Acked)
			return m.Check(b, content, value)
		},
	} {
		if v := check(); ruleOf(v) != RuleState {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestShrink(t *testing.T) {
	steps := make([]int, 50)
	for i := range steps {
		steps[i] = i
	}
	calls := 0
	got := Shrink(steps, 500, func(part []int) bool {
		calls++
		return slices.Contains(part, 7) && slices.Contains(part, 31)
	})
	if !slices.Equal(got, []int{7, 31}) {
		t.Errorf("got %v after %d calls", got, calls)
	}
	calls = 0
	if got := Shrink(steps, 3, func([]int) bool { calls++; return false }); len(got) != 50 || calls != 3 {
		t.Errorf("%d steps after %d calls, want all after 3", len(got), calls)
	}
	if got := Shrink(steps, 500, func([]int) bool { return true }); len(got) != 0 {
		t.Errorf("got %v, want nothing", got)
	}
}

func TestTrace_Sorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace, other := NewTrace(), NewTrace()
		trace.Add("b")
		trace.Add("a")
		other.Add("a")
		other.Add("b")
		time.Sleep(time.Second)
		trace.Add("c %d", 1)
		other.Add("c %d", 1)
		if trace.Sorted() != other.Sorted() || trace.String() == other.String() || trace.Len() != 3 {
			t.Errorf("%s\n%s", trace, other)
		}
		if want := "      0.000000 a\n      0.000000 b\n      1.000000 c 1\n"; trace.Sorted() != want {
			t.Errorf("got %q", trace.Sorted())
		}
	})
}

// stormy returns a client whose every request meets with something.
func stormy(w Weather) (*Bucket, *Client) {
	b := NewBucket(1, BreakNothing, NewTrace())
	w.Latency = time.Second
	b.SetWeather(w)
	return b, b.Client("client", false)
}

func create(c *Client, txid ltx.TXID, fill byte) error {
	body := txFile(0, txid, txid, 1, map[uint32]byte{1: fill})
	_, err := c.CreateLTXFile(context.Background(), 0, txid, txid, bytes.NewReader(body))
	return err
}

// has reports whether a bucket has a file of level 0.
func has(t *testing.T, b *Bucket, txid ltx.TXID) bool {
	t.Helper()
	itr, err := b.Files().LTXFiles(context.Background(), 0, txid, false)
	if err != nil {
		t.Fatal(err)
	}
	return itr.Next() && itr.Item().MinTXID == txid
}

func TestClient_Weather(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weather Weather
		err     error // of a create; nil: none
		stored  bool
	}{
		{"refused", Weather{Refuse: 1000}, errUnavailable, false},
		{"lost", Weather{Lose: 1000}, errLost, true},
		{"late", Weather{Late: 1000}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := stormy(tt.weather)
				if err := create(c, 1, 1); !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				b.Settle()
				if got := has(t, b, 1); got != tt.stored {
					t.Errorf("stored: %v, want %v", got, tt.stored)
				}
				if v := b.Check(); v != nil {
					t.Error(v)
				}
			})
		})
	}
	t.Run("repeated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, c := stormy(Weather{Repeat: 1000})
			if err := create(c, 1, 1); err == nil || !has(t, b, 1) {
				t.Errorf("error %v, want that the file exists", err)
			}
		})
	})
	t.Run("cut", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, c := stormy(Weather{})
			if err := create(c, 1, 1); err != nil {
				t.Fatal(err)
			}
			b.SetWeather(Weather{Cut: 1000})
			r, err := c.OpenLTXFile(context.Background(), 0, 1, 1, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r); !errors.Is(err, errCut) {
				t.Errorf("body: error %v", err)
			}
			itr, err := c.AllLTXFiles(context.Background(), false)
			if err != nil {
				t.Fatal(err)
			}
			for itr.Next() {
			}
			if err := itr.Close(); !errors.Is(err, errCut) {
				t.Errorf("listing: error %v", err)
			}
		})
	})
}

// What a process has sent may arrive after its death. Its calls return at once, and
// it sends nothing more.
func TestClient_Kill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrived := 0
		for seed := range uint64(40) {
			b := NewBucket(seed, BreakNothing, NewTrace())
			b.SetWeather(Weather{Latency: time.Hour})
			c := b.Client("client", false)
			done := make(chan error)
			go func() { done <- create(c, 1, 1) }()
			synctest.Wait()
			begin := time.Now()
			c.Kill()
			if err := <-done; !errors.Is(err, errDead) || time.Since(begin) > 0 {
				t.Errorf("seed %d: error %v after %v", seed, err, time.Since(begin))
			}
			b.Settle()
			if has(t, b, 1) {
				arrived++
			}
			// The goroutines of the process still run in the test.
			if err := create(c, 2, 2); !errors.Is(err, errDead) {
				t.Errorf("seed %d: a call after the death: error %v", seed, err)
			}
			b.Settle()
			if has(t, b, 2) {
				t.Fatalf("seed %d: a request was sent after the death", seed)
			}
		}
		if arrived < 5 || arrived > 35 {
			t.Errorf("%d of 40 requests have arrived", arrived)
		}
	})
}

// Calls of a process that stalls wait until it goes on, or their context ends.
func TestClient_Stall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := stormy(Weather{})
		goOn := c.Stall()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := c.AllLTXFiles(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		done := make(chan error)
		go func() { done <- create(c, 1, 1) }()
		time.Sleep(time.Hour)
		select {
		case err := <-done:
			t.Errorf("it has ended with %v", err)
		default:
		}
		goOn()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestBucket_Reachable(t *testing.T) {
	b := NewBucket(1, BreakNothing, NewTrace())
	c := b.Client(Fresh, false)
	for txid := range ltx.TXID(5) {
		if err := create(c, txid+1, byte(txid+1)); err != nil {
			t.Fatal(err)
		}
	}
	delete1 := func(txid ltx.TXID) {
		if err := c.DeleteLTXFiles(context.Background(), []*ltx.FileInfo{{MinTXID: txid, MaxTXID: txid}}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, want ...ltx.TXID) {
		t.Helper()
		if got, err := b.Reachable(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", what, got, err, want)
		}
	}
	want("all", 1, 2, 3, 4, 5)
	delete1(3)
	want("without 3", 1, 2)
	if _, err := c.WriteLTXFile(context.Background(), 1, 2, 4, bytes.NewReader(txFile(1, 2, 4, 1, map[uint32]byte{1: 4}))); err != nil {
		t.Fatal(err)
	}
	want("with 2-4", 1, 2, 4, 5)
	if err := create(c, 3, 33); err != nil {
		t.Fatal(err)
	}
	if late, err := b.Late(); err != nil || !slices.Equal(late, []ltx.TXID{3}) {
		t.Errorf("late: %v, %v, want 3", late, err)
	}
	if v := b.Check(); ruleOf(v) != RuleOneFile {
		t.Errorf("with a late file: %v", v)
	}
	delete1(3)
	if got := b.Merged(); !slices.Equal(got, []ltx.TXID{4}) {
		t.Errorf("merged: %v", got)
	}
	if v := b.Violated(); v != nil {
		t.Error(v)
	}
	if err := b.RollBack(2); err != nil {
		t.Fatal(err)
	}
	want("rolled back", 1, 2)
	if newest, node := b.Newest(); newest != 2 || node != 2 || len(b.Merged()) > 0 {
		t.Errorf("rolled back: newest %d, state %d, merged %v", newest, node, b.Merged())
	}
	if err := create(c, 3, 99); err != nil {
		t.Fatal(err)
	}
	if v := b.Check(); v != nil {
		t.Errorf("another transaction 3: %v", v)
	}
}

func TestBucket_Breaks(t *testing.T) {
	for breaks, notice := range map[Break]func(b *Bucket) *Violation{
		BreakOverwrite: (*Bucket).Check,
		BreakPage:      (*Bucket).Check,
		BreakMerge:     (*Bucket).Violated,
		BreakStamp:     (*Bucket).Violated,
	} {
		b := NewBucket(1, breaks, NewTrace())
		c := b.Client(Fresh, false)
		for i, body := range [][]byte{txFile(0, 1, 1, 2, map[uint32]byte{1: 1, 2: 1}), txFile(0, 2, 2, 2, map[uint32]byte{1: 2, 2: 2}), txFile(0, 3, 3, 2, map[uint32]byte{1: 3, 2: 3}), txFile(0, 2, 2, 2, map[uint32]byte{1: 9, 2: 9})} {
			txid := []ltx.TXID{1, 2, 3, 2}[i]
			if _, err := c.CreateLTXFile(context.Background(), 0, txid, txid, bytes.NewReader(body)); err != nil && !strings.Contains(err.Error(), "exist") {
				t.Fatal(err)
			}
		}
		if _, err := c.WriteLTXFile(context.Background(), 1, 2, 3, bytes.NewReader(txFile(1, 2, 3, 2, map[uint32]byte{1: 3, 2: 3}))); err != nil {
			t.Fatal(err)
		}
		if v := notice(b); v == nil {
			t.Errorf("%s: nothing is noticed", breaks)
		}
	}
}
