package clientio_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// bucket is a connection to an object store with the given objects.
type bucket struct {
	layout  clientio.Layout
	objects map[string]string
	listErr error
	readErr error
	reads   int
}

func (b *bucket) Layout() clientio.Layout { return b.layout }

func (b *bucket) Folder(_ context.Context, prefix string, _ int) (names []string, more bool, err error) {
	for key := range b.objects {
		rest, ok := strings.CutPrefix(key, prefix)
		if first, _, below := strings.Cut(rest, "/"); below {
			rest = first + "/"
		}
		if name := prefix + rest; ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, false, b.listErr
}

func (b *bucket) ReadKey(_ context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	b.reads++
	body, ok := b.objects[key]
	switch {
	case b.readErr != nil:
		return nil, b.readErr
	case !ok:
		return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	body = body[min(offset, int64(len(body))):]
	return io.NopCloser(strings.NewReader(body[:min(size, int64(len(body)))])), nil
}

func TestSurveyObjects(t *testing.T) {
	const head = "0123456789abcdef"
	objects := map[string]string{
		"a": head + "g", "a/": "", "a/0009/x": "", "a/ltx/9/x": "", "a/b": "", "/0009/x": "", "c/d": "", "aa": "",
	}
	for _, c := range []struct {
		layout clientio.Layout
		dir    string
		names  string
		head   string
		levels string
	}{
		{clientio.NewHexLayout("a"), "", "0009/ b ltx/", head, "0009/"},
		{clientio.NewHexLayout("a"), "ltx/", "9/", "", "0009/"},
		{clientio.NewHexLayout(""), "", "a a/ aa c/", "", "0009/"},
		{clientio.NewLayout("a"), "", "0009/ b ltx/", head, "ltx/9/"},
		{clientio.NewLayout(""), "", "a a/ aa c/", "", "ltx/9/"},
		{clientio.NewLayout(""), "c/", "d", "", "ltx/9/"},
		{clientio.NewLayout("d"), "", "", "", "ltx/9/"},
	} {
		b := &bucket{layout: c.layout, objects: objects}
		s, err := clientio.SurveyObjects(t.Context(), c.dir, func(context.Context) (*bucket, error) { return b, nil })
		if err != nil || strings.Join(s.Names, " ") != c.names || string(s.Head) != c.head || s.LevelDir != c.levels {
			t.Errorf("%+v: got %+v, %v", c, s, err)
		}
		if isObject := c.layout.Below("") != "" && c.dir == ""; (b.reads > 0) != isObject {
			t.Errorf("%+v: %d reads of an object at the place", c, b.reads)
		}
	}
}

// folders is a connection to a store that has folders.
type folders struct {
	names    []string
	head     string
	namesErr error
	headErr  error
	reads    int // of the head
}

func (f *folders) Names(context.Context, string) ([]string, error) { return f.names, f.namesErr }

func (f *folders) Head(context.Context) ([]byte, error) { f.reads++; return []byte(f.head), f.headErr }

// TestSurveyFolders looks at a place that is a folder, a file, or something that cannot be
// read.
func TestSurveyFolders(t *testing.T) {
	errNames, errHead := errors.New("names"), errors.New("head")
	for _, c := range []struct {
		name  string
		store folders
		dir   string
		want  error
		reads int
	}{
		{"a folder", folders{names: []string{"b", "a/"}}, "", nil, 1},
		{"a folder below", folders{names: []string{"b", "a/"}, head: "wrong"}, "ltx/", nil, 0},
		{"a file", folders{head: "SQLite"}, "", nil, 1},
		{"a file, which has no names", folders{head: "SQLite", namesErr: errNames}, "", nil, 1},
		{"no names", folders{namesErr: errNames}, "", errNames, 1},
		{"no names below", folders{namesErr: errNames, head: "SQLite"}, "ltx/", errNames, 0},
		{"no head", folders{names: []string{"a/", "b"}, headErr: errHead}, "", errHead, 1},
		{"neither", folders{namesErr: errNames, headErr: errHead}, "", errNames, 1},
		{"no folder", folders{}, "a/b/", fs.ErrInvalid, 0},
	} {
		s, err := clientio.SurveyFolders(t.Context(), c.dir, func(context.Context) (*folders, error) { return &c.store, nil })
		if !errors.Is(err, c.want) || c.want == nil && err != nil || c.store.reads != c.reads {
			t.Errorf("%s: %v after %d reads of the file", c.name, err, c.store.reads)
		}
		if err != nil {
			continue
		}
		wantHead := ""
		if c.reads > 0 {
			wantHead = c.store.head
		}
		slices.Sort(c.store.names)
		if !slices.Equal(s.Names, c.store.names) || string(s.Head) != wantHead || s.More || s.LevelDir != "ltx/9/" {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
	if _, err := clientio.SurveyFolders(t.Context(), "", func(context.Context) (*folders, error) { return nil, errNames }); !errors.Is(err, errNames) {
		t.Errorf("no connection: %v", err)
	}
}

func TestCheckDir(t *testing.T) {
	for dir, ok := range map[string]bool{"": true, "a/": true, "..a/": true, "/": false, "a": false, "./": false, "../": false, "a/b/": false, "a//": false, "/a/": false} {
		if err := clientio.CheckDir(dir); (err == nil) != ok || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", dir, err)
		}
	}
}

// TestSurveyObjects_Errors checks which errors of reading the object at the place
// itself count.
func TestSurveyObjects_Errors(t *testing.T) {
	errBoom := errors.New("boom")
	for _, c := range []struct{ list, read, want error }{
		{nil, errBoom, errBoom},
		{nil, fs.ErrPermission, nil},
		{nil, clientio.Permanent(errBoom), nil},
		{errBoom, nil, errBoom},
		{fs.ErrPermission, errBoom, fs.ErrPermission},
	} {
		b := &bucket{layout: clientio.NewLayout("a"), objects: map[string]string{"a": "x"}, listErr: c.list, readErr: c.read}
		s, err := clientio.SurveyObjects(t.Context(), "", func(context.Context) (*bucket, error) { return b, nil })
		if !errors.Is(err, c.want) || b.reads != 1 || c.want == nil && s.Head != nil {
			t.Errorf("%v, %v: got %v after %d reads, want %v", c.list, c.read, err, b.reads, c.want)
		}
	}
	_, err := clientio.SurveyObjects(t.Context(), "", func(context.Context) (*bucket, error) { return nil, errBoom })
	if !errors.Is(err, errBoom) {
		t.Errorf("got %v", err)
	}
}
