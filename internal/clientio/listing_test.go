package clientio_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

func TestIterator(t *testing.T) {
	layout := clientio.NewLayout("r")
	all := [][]clientio.Object{
		{{Key: "r/ltx/0/README"}, {Key: layout.Key(0, 1, 1), Size: 5}},
		{},
		{{Key: layout.Key(0, 2, 3), Size: 6}, {Key: layout.Key(1, 1, 3), Size: 7}},
	}
	pager := func(context.Context) ([]clientio.Object, bool, error) {
		page := all[0]
		all = all[1:]
		return page, len(all) > 0, nil
	}
	itr := clientio.NewIterator(t.Context(), layout, 2, pager)
	var got []ltx.FileInfo
	for itr.Next() {
		got = append(got, *itr.Item())
	}
	if err := itr.Close(); err != nil || itr.Next() || itr.Item() != nil {
		t.Errorf("close: %v", err)
	}
	if len(got) != 1 || got[0].MinTXID != 2 || got[0].MaxTXID != 3 || got[0].Size != 6 {
		t.Errorf("got %+v", got)
	}

	calls := 0
	itr = clientio.NewIterator(t.Context(), layout, 0, func(context.Context) ([]clientio.Object, bool, error) {
		calls++
		if calls == 1 {
			return []clientio.Object{{Key: layout.Key(0, 1, 1)}}, true, nil
		}
		return nil, false, errBoom
	})
	if !itr.Next() || itr.Next() || !errors.Is(itr.Err(), errBoom) || !errors.Is(itr.Close(), errBoom) || itr.Next() || calls != 2 {
		t.Errorf("a page that fails: error %v after %d calls", itr.Err(), calls)
	}
}

// pages is a lister of pages of objects.
type pages [][]clientio.Object

func (pages) Layout() clientio.Layout { return clientio.NewLayout("r") }

func (l pages) Pager(string, string, bool) clientio.Pager {
	return func(context.Context) ([]clientio.Object, bool, error) {
		page := l[0]
		l = l[1:]
		return page, len(l) > 0, nil
	}
}

// A listing out of order may lack files, and a file cannot have a negative size.
func TestList_Wrong(t *testing.T) {
	key := func(level int, txid ltx.TXID) string { return clientio.NewLayout("r").Key(level, txid, txid) }
	for _, tt := range []struct {
		name string
		from pages
		want int
		err  string
	}{
		{"in order", pages{{{Key: key(0, 1)}, {Key: key(0, 2), Size: 9}}, {}, {{Key: key(1, 1)}}}, 3, ""},
		{"other names out of order", pages{{{Key: "r/ltx/0/b"}, {Key: "r/ltx/0/a", Size: -1}, {Key: key(0, 2)}}}, 1, ""},
		{"out of order on a page", pages{{{Key: key(0, 2)}, {Key: key(0, 1)}}}, 0, "server does not list in order of name"},
		{"out of order on two pages", pages{{{Key: key(0, 2)}}, {{Key: key(0, 1)}}}, 1, "server does not list in order of name"},
		{"twice", pages{{{Key: key(0, 2)}}, {{Key: key(0, 2)}}}, 1, "server does not list in order of name"},
		{"negative size", pages{{{Key: key(0, 2), Size: -1}}}, 0, "answer lists a file of an impossible size"},
	} {
		connect := func(context.Context) (pages, error) { return tt.from, nil }
		all, err := clientio.ListAll(t.Context(), false, connect)
		if err != nil {
			t.Fatal(err)
		}
		level, err := clientio.List(t.Context(), 0, 0, false, connect)
		if err != nil {
			t.Fatal(err)
		}
		for what, itr := range map[string]ltx.FileIterator{"all levels": all, "level 0": level} {
			n := 0
			for itr.Next() {
				n++
			}
			got := ""
			if err := itr.Close(); err != nil {
				got = err.Error()
			}
			want := tt.err
			if want != "" {
				want = "list " + what + ": " + want
			}
			if n != tt.want || got != want {
				t.Errorf("%s, %s: %d files, error %q, want %d, %q", tt.name, what, n, got, tt.want, want)
			}
		}
	}
}

// lister is a connection to an object store that can list objects.
type lister struct {
	keys   []string
	err    error
	starts []string
}

func (*lister) Layout() clientio.Layout { return clientio.NewLayout("a") }

func (l *lister) Pager(prefix, start string, _ bool) clientio.Pager {
	l.starts = append(l.starts, prefix+" "+start)
	return func(context.Context) (page []clientio.Object, more bool, err error) {
		for _, key := range l.keys {
			page = append(page, clientio.Object{Key: key, Size: 5})
		}
		return page, false, l.err
	}
}

// TestList lists a level from a transaction on, and from the first one. An error says what
// was listed. After Close there are no more files.
func TestList(t *testing.T) {
	names := []string{"a/ltx/1/" + ltx.FormatFilename(1, 2), "a/ltx/1/" + ltx.FormatFilename(3, 3), "a/ltx/1/" + ltx.FormatFilename(4, 9)}
	l := &lister{keys: names}
	connect := func(context.Context) (*lister, error) { return l, nil }
	for seek, want := range map[ltx.TXID]int{0: 3, 1: 3, 2: 2, 4: 1, 5: 0} {
		l.starts = nil
		itr, err := clientio.List(t.Context(), 1, seek, false, connect)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; itr.Next(); n++ {
			if itr.Item().MinTXID < seek || itr.Item().Level != 1 || itr.Item().Size != 5 {
				t.Errorf("from %d on: %+v", seek, itr.Item())
			}
		}
		start := ""
		if seek > 0 {
			start = "a/ltx/1/" + seek.String()
		}
		if n != want || itr.Item() != nil || itr.Close() != nil || l.starts[0] != "a/ltx/1/ "+start {
			t.Errorf("from %d on: %d files, listed %q", seek, n, l.starts)
		}
	}
	itr, err := clientio.ListAll(t.Context(), false, connect)
	if err != nil || !itr.Next() {
		t.Fatal(err)
	}
	if err := itr.Close(); err != nil || itr.Next() || itr.Item() != nil {
		t.Errorf("after Close there is %+v, %v", itr.Item(), err)
	}
	l.err = errBoom
	for what, list := range map[string]func() (ltx.FileIterator, error){
		"list level 7":    func() (ltx.FileIterator, error) { return clientio.List(t.Context(), 7, 0, false, connect) },
		"list all levels": func() (ltx.FileIterator, error) { return clientio.ListAll(t.Context(), false, connect) },
	} {
		itr, err := list()
		if err != nil {
			t.Fatal(err)
		}
		if itr.Next() || !errors.Is(itr.Err(), errBoom) || !strings.HasPrefix(itr.Err().Error(), what+": ") || itr.Close() != itr.Err() {
			t.Errorf("%s: %v", what, itr.Err())
		}
	}
	if _, err := clientio.List(t.Context(), -1, 0, false, connect); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("level -1: %v", err)
	}
	if _, err := clientio.ListAll(t.Context(), false, func(context.Context) (*lister, error) { return nil, errBoom }); !errors.Is(err, errBoom) {
		t.Errorf("no connection: %v", err)
	}
}
