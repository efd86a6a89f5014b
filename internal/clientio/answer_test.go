package clientio_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// responder is a transport that answers.
type responder func() *http.Response

func (r responder) RoundTrip(*http.Request) (*http.Response, error) { return r(), nil }

func response(status int, contentType string, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(body), ContentLength: -1}
}

func TestCheckXML(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{`<Root></Root>`, ""},
		{"\ufeff <?xml version=\"1.0\"?>\n<!-- c --><Root xmlns=\"x\"><a/></Root>\n", ""},
		{`<Root/>`, ""},
		{`<Root a="b" />`, ""},
		{`<Other></Other>`, ""},
		{`<p:Root xmlns:p="x"></p:Root >`, ""},
		{``, "no xml"},
		{`  `, "no xml"},
		{`OK`, "no xml"},
		{`x<Root></Root>`, "no xml"},
		{`{"Root":1}`, "no xml"},
		{`OK <Root></Root>`, "no xml"},
		{`<!DOCTYPE html><Root></Root>`, "no xml"},
		{`<html><Root></Root></html>`, `"html"`},
		{`<Root>`, "cut off"},
		{`<Root><a></a>`, "cut off"},
		{`<Root><a/>`, "cut off"},
		{`<Root><Root/>`, "cut off"},
		{`<Root></Root><html></html>`, "cut off"},
		{`<Root></Root>x`, "cut off"},
		{`<Root></Roo`, "cut off"},
		{`<Roo`, "no xml"},
	} {
		if got := clientio.CheckXML([]byte(tt.body), "Root", "Other"); got != tt.want && (tt.want == "" || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: got %q, want %q", tt.body, got, tt.want)
		}
	}
}

// The error of a wrong answer says what came, and nothing that may be secret.
func TestAnswerError(t *testing.T) {
	const secret = "AKIAIOSFODNN7EXAMPLE/wJalrXUtnFEMI"
	for _, tt := range []struct{ contentType, body, want string }{
		{"text/html; charset=utf-8", "<html><title>Guest\n WiFi</title><p>" + secret, `http status 200, text/html: no listing: something else than the store may have answered, with "Guest WiFi"`},
		{"", "", `http status 200: no listing: something else than the store may have answered, with "nothing"`},
		{"text/plain", "x\x00y  " + secret + " " + strings.Repeat("long ", 100), `with "x\x00y [...] long long`},
		{"nonsense;;;", "short", `http status 200: no listing`},
		{"text/plain", "password", `with "[redacted]"`},
	} {
		err := clientio.NewAnswerError(response(200, tt.contentType, nil), []byte(tt.body), "no listing").
			Show(func(s string) string { return strings.ReplaceAll(s, "password", "[redacted]") })
		if text := err.Error(); !strings.Contains(text, tt.want) || strings.Contains(text, secret) || len(text) > 300 {
			t.Errorf("%q: got %s, want %s", tt.body, text, tt.want)
		}
		if !errors.As(err, new(*clientio.AnswerError)) {
			t.Errorf("%T is no AnswerError", err)
		}
	}
}

// Bodies end at their limits, an error's in silence.
func TestChecked_Limits(t *testing.T) {
	for _, tt := range []struct {
		status int
		answer clientio.Answer
		size   int
		want   int // -1: an error
	}{
		{200, clientio.Answer{Limit: 10}, 10, 10},
		{200, clientio.Answer{Limit: 10}, 11, -1},
		{200, clientio.Answer{}, clientio.MaxAnswer, clientio.MaxAnswer},
		{200, clientio.Answer{}, clientio.MaxAnswer + 1, -1},
		{103, clientio.Answer{Limit: 10}, clientio.MaxErrorText + 1, clientio.MaxErrorText},
		{199, clientio.Answer{Limit: 10}, 11, 11},
		{299, clientio.Answer{Limit: 10}, 11, -1},
		{300, clientio.Answer{Limit: 10}, 11, 11},
		{403, clientio.Answer{Limit: 10}, clientio.MaxErrorText + 1, clientio.MaxErrorText},
		{304, clientio.Answer{Data: true}, clientio.MaxErrorText + 1, clientio.MaxErrorText},
		{206, clientio.Answer{Data: true}, clientio.MaxAnswer + 1, clientio.MaxAnswer + 1},
		{202, clientio.Answer{Data: true}, clientio.MaxAnswer + 1, -1},
	} {
		tr := clientio.Checked(responder(func() *http.Response {
			return response(tt.status, "", bytes.NewReader(make([]byte, tt.size)))
		}), func(*http.Request) clientio.Answer { return tt.answer })
		resp, err := tr.RoundTrip(nil)
		if err != nil {
			if tt.want >= 0 {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		if b, err := io.ReadAll(resp.Body); err != nil || len(b) != tt.want {
			t.Errorf("%d of %d bytes, limit %d: got %d, %v", tt.status, tt.size, tt.answer.Limit, len(b), err)
		}
	}
}

// TestChecked_Page refuses the error of a server that is no store: a page where a
// store would say that a file is missing. Google says that in plain text with the
// media type of a page.
func TestChecked_Page(t *testing.T) {
	for _, tt := range []struct {
		status            int
		contentType, body string
		page              bool
	}{
		{404, "text/html", "<p>not here", true},
		{404, "text/html", " <p>not here", true},
		{404, "text/html", " <x-page>not here", true},
		{404, "text/html", " \r\n", true},
		{404, "text/plain", "<html>not here", true},
		{404, "text/html", "", true},
		{404, "text/html", "\xff\xfe<\x00p\x00>\x00", true},
		{404, "text/html", "\xfe\xff\x00<\x00p\x00>", true},
		{404, "text/html; charset=UTF-8", "No such object: a/b", false},
		{404, "application/xml", "<?xml version='1.0'?><Error/>", false},
		{404, "", "", false},
		{410, "text/html", "<p>gone", true},
		{409, "text/html", "<p>conflict", true},
		{412, "text/html", "<p>exists", true},
		{416, "text/html", "<p>no range", true},
		{403, "text/html", "<p>no", false},
	} {
		tr := clientio.Limited(responder(func() *http.Response { return response(tt.status, tt.contentType, strings.NewReader(tt.body)) }))
		resp, err := tr.RoundTrip(nil)
		if errors.As(err, new(*clientio.AnswerError)) != tt.page {
			t.Errorf("status %d, %s, %q: %v", tt.status, tt.contentType, tt.body, err)
		}
		if err != nil {
			continue
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != tt.body {
			t.Errorf("status %d, %s, %q: body is %q, %v", tt.status, tt.contentType, tt.body, body, err)
		}
	}
}

// A store has headers of its own, and an object has an entity tag beside them.
func TestIsObject(t *testing.T) {
	for _, c := range []struct {
		header          map[string]string
		store, isObject bool
	}{
		{nil, false, false},
		{map[string]string{"Etag": "1"}, false, false},
		{map[string]string{"X-Amz-Id": "1"}, true, false},
		{map[string]string{"X-Amz-Id": "1", "Etag": "1"}, true, true},
		{map[string]string{"X-Other": "1", "Etag": "1"}, false, false},
		{map[string]string{"X-Goog-Id": "1", "Etag": "1"}, true, true},
		{map[string]string{"X-Amz-Id": "1", "Etag": "1", "Content-Type": "text/html; charset=utf-8"}, true, false},
		{map[string]string{"X-Amz-Id": "1", "Etag": "1", "Content-Type": "text/plain"}, true, true},
	} {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		if store, isObject := clientio.IsStore(h, "X-Goog-", "X-Amz-"), clientio.IsObject(h, "X-Goog-", "X-Amz-"); store != c.store || isObject != c.isObject {
			t.Errorf("%v: store %v, object %v", c.header, store, isObject)
		}
		if clientio.IsStore(h) {
			t.Errorf("%v is of a store without headers of its own", c.header)
		}
	}
}

func TestCheckBegin(t *testing.T) {
	wrong := errors.New("wrong")
	for body, want := range map[string]error{
		"LTX1": nil, "LTX1" + strings.Repeat("x", 2000): nil, "LTX": wrong, "": wrong, "LTX2": wrong, "<html>": wrong,
	} {
		for _, step := range []int{1, 3, 4096} {
			r := clientio.CheckBegin(io.NopCloser(strings.NewReader(body)), func([]byte) error { return wrong })
			var got []byte
			var err error
			for p := make([]byte, step); err == nil; {
				var n int
				n, err = r.Read(p)
				got = append(got, p[:n]...)
			}
			if want == nil && (err != io.EOF || string(got) != body) || want != nil && (!errors.Is(err, want) || len(got) > 0) {
				t.Errorf("%.10q in steps of %d: %d bytes, %v", body, step, len(got), err)
			}
		}
	}
}
