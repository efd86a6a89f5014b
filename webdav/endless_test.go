package webdav_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/webdav"
)

// A listing or a header without an end is an error, before it fills the memory.
func TestEndless(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"listing": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusMultiStatus)
			_, err := w.Write([]byte(`<?xml version="1.0"?><multistatus xmlns="DAV:">`))
			for chunk := bytes.Repeat([]byte("<response/>"), 64<<10/11); err == nil; {
				_, err = w.Write(chunk)
			}
		}, "too large"},
		"header": {func(w http.ResponseWriter) { w.Header().Set("X-Long", strings.Repeat("x", 1<<20)) }, "headers exceeded"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { test.answer(w) }))
		c := webdav.NewReplicaClient()
		c.URL, c.Path = server.URL, "/app"
		itr, err := c.LTXFiles(t.Context(), 0, 0, false)
		if err == nil {
			_, err = ltx.SliceFileIterator(itr)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	}
}
