package gs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/gs"
)

// What a server says of a range is checked against what was asked for.
func TestOpenLTXFile_Responses(t *testing.T) {
	object := strings.Repeat("0123456789", 10)
	partial := func(contentRange, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", contentRange)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, body)
		}
	}
	status := func(status int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}
	}
	for _, tt := range []struct {
		name         string
		offset, size int64
		handle       http.HandlerFunc
		want         string // the body
		class, text  string
	}{
		{name: "range", offset: 10, size: 5, handle: partial("bytes 10-14/100", "01234"), want: "01234"},
		{name: "range to the end", offset: 95, handle: partial("bytes 95-99/100", "56789"), want: "56789"},
		{name: "range beyond the end", offset: 95, size: 20, handle: partial("bytes 95-99/100", "56789"), want: "56789"},
		{name: "range at the end", offset: 100, size: 1, handle: status(416, "Content-Range", "bytes */100")},
		{name: "range after the end", offset: 200, handle: status(416)},
		{name: "range within is refused", offset: 10, size: 1, handle: status(416, "Content-Range", "bytes */100"), class: "transient", text: "refused"},
		{name: "ignored", offset: 10, size: 5, handle: serve(object), class: "permanent", text: "ignores ranges"},
		{name: "ignored at the start", size: 5, handle: serve(object), class: "permanent", text: "ignores ranges"},
		{name: "another start", offset: 10, size: 5, handle: partial("bytes 11-15/100", "12345"), class: "transient", text: `content range "bytes 11-15/100"`},
		{name: "an earlier start", offset: 10, size: 5, handle: partial("bytes 9-14/100", "901234"), class: "transient", text: "content range"},
		{name: "shorter", offset: 10, size: 5, handle: partial("bytes 10-13/100", "0123"), class: "transient", text: "content range"},
		{name: "longer", offset: 10, size: 5, handle: partial("bytes 10-15/100", "012345"), class: "transient", text: "content range"},
		{name: "not to the end", offset: 95, handle: partial("bytes 95-98/100", "5678"), class: "transient", text: "content range"},
		{name: "beyond the total", offset: 95, size: 10, handle: partial("bytes 95-104/100", "5678956789"), class: "transient", text: "content range"},
		{name: "no content range", offset: 10, size: 5, handle: partial("", "01234"), class: "transient", text: "content range"},
		{name: "content range of another unit", offset: 10, size: 5, handle: partial("lines 10-14/100", "01234"), class: "transient", text: "content range"},
		{name: "content range and length differ", offset: 10, size: 5, handle: partial("bytes 10-14/100", "0123"), class: "transient", text: "length 4"},
		{name: "whole", handle: serve(object), want: object},
		{name: "whole as a part", handle: partial("bytes 0-99/100", object), class: "permanent", text: "status 206"},
		{name: "whole without length", handle: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, object)
			_ = http.NewResponseController(w).Flush()
		}, class: "transient", text: "without a length"},
		{name: "compressed", handle: status(200, "X-Goog-Stored-Content-Encoding", "gzip"), class: "permanent", text: `encoding "gzip"`},
		{name: "redirect", handle: status(302, "Location", "/elsewhere"), class: "permanent", text: "status 302"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, tt.handle)
			got, err := read(t.Context(), s.client(t), tt.offset, tt.size)
			if tt.class == "" {
				tt.class = "none"
			}
			wantError(t, err, tt.class, tt.text)
			if string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if asked := s.asked(); len(asked) != 1 || asked[0] != "GET /storage/v1/b/bucket/o/db/ltx/0/0000000000000001-0000000000000001.ltx" {
				t.Errorf("requests: %q", asked)
			}
		})
	}
}

func serve(object string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, object) }
}

// A body that is cut off is an error, not another request.
func TestOpenLTXFile_Cut(t *testing.T) {
	for name, cut := range map[string]func(http.ResponseWriter){
		"end":   reset,
		"reset": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Range", "bytes 5-104/1000")
				w.Header().Set("Content-Length", "100")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, "0123456789")
				_ = http.NewResponseController(w).Flush()
				cut(w)
			})
			c := s.client(t)
			got, err := read(t.Context(), c, 5, 100)
			wantError(t, err, "transient", "after 10 of 100 bytes")
			if string(got) != "0123456789" {
				t.Errorf("got %q before the cut", got)
			}
			if asked := s.asked(); len(asked) != 1 {
				t.Errorf("requests: %q", asked)
			}
		})
	}
}

// A 404 may be about the bucket: it is looked for once.
func TestOpenLTXFile_NotFound(t *testing.T) {
	bucketExists := true
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if bucketExists && strings.HasSuffix(r.URL.Path, "/o") {
			reply(w, 200, listing)
			return
		}
		refuse(w, 404, "notFound", "Not found.")
	})
	c := s.client(t)
	for _, requests := range []int{2, 1} {
		_, err := read(t.Context(), c, 0, 0)
		wantError(t, err, "missing", "bucket/db/ltx/0/")
		if asked := s.asked(); len(asked) != requests {
			t.Errorf("requests: %q, want %d", asked, requests)
		}
	}
	bucketExists = false
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			wantError(t, m.call(t.Context(), s.client(t), body(t, 1)), "permanent", "no bucket bucket")
		})
	}
}

// Each status in its class, from every method, by one request.
func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		status      int
		reason      string
		class, text string
	}{
		{400, "invalid", "permanent", "status 400: Says who."},
		{401, "authError", "denied", "no credentials"},
		{403, "forbidden", "denied", "no credentials"},
		{403, "rateLimitExceeded", "transient", "status 403: Says who."},
		{408, "timeout", "transient", "status 408"},
		{409, "conflict", "transient", "status 409"},
		{429, "rateLimitExceeded", "transient", "status 429"},
		{500, "backendError", "transient", "status 500"},
		{501, "notImplemented", "unsupported", "status 501"},
		{503, "backendError", "transient", "status 503"},
		{504, "", "transient", "status 504"},
	} {
		t.Run(fmt.Sprint(tt.status, tt.reason), func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, tt.status, tt.reason, "Says who.") })
			c := s.client(t)
			for _, m := range methods {
				text, wantClass := tt.text, tt.class
				if m.name == "OpenLTXFile" {
					// Downloads have errors as plain text, without a reason.
					text = strings.TrimSuffix(text, ": Says who.")
					if tt.status == 403 {
						wantClass = "denied"
					}
				}
				wantError(t, m.call(t.Context(), c, body(t, 1)), wantClass, text)
				if asked := s.asked(); len(asked) != 1 {
					t.Errorf("%s: requests: %q, want one", m.name, asked)
				}
			}
		})
	}
}

// A page of HTML by a proxy in between is not repeated.
func TestStatus_ForeignBody(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(502)
		_, _ = io.WriteString(w, "<html>"+strings.Repeat("Authorization: Bearer token ", 100_000))
	})
	c := s.client(t)
	for _, m := range methods {
		err := m.call(t.Context(), c, body(t, 1))
		wantError(t, err, "transient", "status 502: Bad Gateway")
		if err != nil && strings.Contains(err.Error(), "Bearer") {
			t.Errorf("%s: error repeats the body", m.name)
		}
	}
}

// A server that accepts and is silent.
func TestSlowServer(t *testing.T) {
	release := make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	c := s.client(t)
	for _, m := range methods {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		b := body(t, 1)
		go func() { done <- m.call(ctx, c, b) }()
		for len(s.asked()) == 0 {
			if err := ctx.Err(); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want context.Canceled", m.name, err)
		}
	}
}

func TestOpenLTXFile_Invalid(t *testing.T) {
	s := newServer(t, serve(""))
	c := s.client(t)
	for _, r := range [][3]int64{{-1, 0, 0}, {10, 0, 0}, {0, -1, 0}, {0, 0, -1}, {0, 1, 1<<63 - 1}} {
		_, err := c.OpenLTXFile(t.Context(), int(r[0]), 1, 1, r[1], r[2])
		wantError(t, err, "invalid")
	}
	_, err := gs.NewReplicaClient().LTXFiles(t.Context(), 0, 0, false)
	wantError(t, err, "invalid", "no bucket is set")
	if asked := s.asked(); len(asked) > 0 {
		t.Errorf("requests: %q", asked)
	}
}

// A client that was closed, even before its first use, goes on working.
func TestClose(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, listing) })
	c := s.client(t)
	for range 3 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := list(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}
