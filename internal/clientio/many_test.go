package clientio_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

var errThird = errors.New("third")

// Each begins no call after a failure, and says why it ended.
func TestEach(t *testing.T) {
	var called []int
	err := clientio.Each(t.Context(), 6, 1, func(_ context.Context, i int) error {
		called = append(called, i)
		if i == 2 {
			return errThird
		}
		return nil
	})
	if !errors.Is(err, errThird) || !slices.Equal(called, []int{0, 1, 2}) {
		t.Errorf("called for %v, got error %v", called, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called = nil
	if err := clientio.Each(ctx, 3, 1, func(context.Context, int) error { called = append(called, 1); return nil }); !errors.Is(err, context.Canceled) || called != nil {
		t.Errorf("called for %v, got error %v", called, err)
	}
}

// Complete keeps the order of the objects that are left.
func TestComplete(t *testing.T) {
	page := []clientio.Object{{Key: "a"}, {Key: "b"}, {Key: "c"}}
	got, err := clientio.Complete(t.Context(), page, 2, func(_ context.Context, o *clientio.Object) (bool, error) {
		o.Size = 7
		return o.Key != "b", nil
	})
	if err != nil || !slices.Equal(got, []clientio.Object{{Key: "a", Size: 7}, {Key: "c", Size: 7}}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// Delete names the file that could not be deleted, and connects for valid files only.
func TestDelete(t *testing.T) {
	connected := 0
	connect := func(context.Context) (string, error) { connected++; return "connection", nil }
	remove := func(conn string, _ context.Context, f clientio.File) error {
		if conn != "connection" || f.Level != 1 {
			t.Errorf("deletes %s by %s", f, conn)
		}
		return errThird
	}
	err := clientio.Delete(t.Context(), []*ltx.FileInfo{{Level: 1, MinTXID: 2, MaxTXID: 3}}, 4, connect, remove)
	if want := "delete ltx files: 1/0000000000000002-0000000000000003.ltx: third"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if err := clientio.Delete(t.Context(), []*ltx.FileInfo{{Level: 10}}, 4, connect, remove); err == nil || connected != 1 {
		t.Errorf("connected %d times, got error %v", connected, err)
	}
}

// SetParameters takes parameters in the order of their names, and each once.
// The address of a web server has a host and a path, and nothing else.
func TestWebAddress(t *testing.T) {
	for text, want := range map[string]string{
		"https://host": "https://host", "http://host:80/a%20b/": "http://host:80/a%20b/", "https://[::1]/": "https://[::1]/",
		"": "", "host": "", "host/path": "", "ftp://host/": "", "https:///path": "", "https:host": "", "https://:80/": "", "://": "", "https://host/%zz": "",
		"https://user@host/": "", "https://user:secret@host/": "", "https://host/?": "", "https://host/?a=secret": "", "https://host/#secret": "",
	} {
		u, err := clientio.WebAddress(text, "server", "https://example.com/")
		switch {
		case want == "" && (err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "server")):
			t.Errorf("%q: %v, %v", text, u, err)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q: %v, %v", text, u, err)
		}
	}
	if err := clientio.NoParameters(url.Values{}, "file"); err != nil {
		t.Error(err)
	}
	if err := clientio.NoParameters(url.Values{"b": {""}, "a": {"1"}}, "file"); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("parameters of a url without: %v", err)
	}
}

func TestUnknownParameter(t *testing.T) {
	for name, want := range map[string]string{"regoin": `did you mean "region"?`, "region_": `did you mean "region"?`, "something_else": `unknown parameter "something_else"`} {
		if err := clientio.UnknownParameter(name, []string{"endpoint", "region"}); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "did you mean") != strings.Contains(want, "did you mean") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSetParameters_Refused(t *testing.T) {
	wrong := errors.New("wrong")
	calls := 0
	err := clientio.SetParameters(url.Values{"b": {"2"}, "a": {"1"}}, func(name, _ string) error {
		calls++
		return fmt.Errorf("%s: %w", name, wrong)
	})
	if !errors.Is(err, wrong) || err.Error() != "a: wrong" || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestSetParameters(t *testing.T) {
	var got []string
	set := func(name, value string) error { got = append(got, name+"="+value); return nil }
	if err := clientio.SetParameters(url.Values{"b": {"2"}, "a": {"1"}}, set); err != nil || !slices.Equal(got, []string{"a=1", "b=2"}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, query := range []url.Values{{"a": {""}}, {"a": {"1", "2"}}, {"a": nil}} {
		if err := clientio.SetParameters(query, set); err == nil || len(got) != 2 {
			t.Errorf("%v: got %v, %v", query, got, err)
		}
	}
}
