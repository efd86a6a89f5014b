package https_test

import (
	"bytes"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// A listing or a header without an end is an error, before it fills the memory.
func TestEndless(t *testing.T) {
	s := newServer(t)
	forever := func(begin, unit string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			_, err := w.Write([]byte(begin))
			for chunk := bytes.Repeat([]byte(unit), 64<<10/len(unit)); err == nil; {
				_, err = w.Write(chunk)
			}
			return true
		}
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		"page": {forever("<html><title>Index of /app</title>", "x"), "too large"},
		"json": {forever("[", `{"name": "a", "type": "file"},`), "too large"},
		"header": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
			return true
		}, "headers exceeded"},
	} {
		c := newClient(t, s.URL+"/"+name)
		s.answer(test.answer)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := list(t.Context(), c)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 600 { // the body grows by doubling
			t.Errorf("%s: %d MB were allocated", name, took)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
