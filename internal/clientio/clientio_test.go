package clientio_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/superfly/ltx"
)

var errBoom = errors.New("boom")

func TestBody(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		r    io.Reader
		want string
		err  error
	}{
		{"whole", t.Context(), strings.NewReader("abcdef"), "abcdef", nil},
		{"with its end", t.Context(), iotest.DataErrReader(strings.NewReader("abcdef")), "abcdef", nil},
		{"by the byte", t.Context(), iotest.OneByteReader(strings.NewReader("abcdef")), "abcdef", nil},
		{"too long", t.Context(), strings.NewReader("abcdefg"), "abcdef", nil},
		{"cut off", t.Context(), strings.NewReader("abc"), "abc", io.ErrUnexpectedEOF},
		{"broken", t.Context(), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(errBoom)), "abc", errBoom},
		{"canceled", canceled, strings.NewReader("abcdef"), "", context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := clientio.NewBody(tt.ctx, io.NopCloser(tt.r), 6)
			got, err := io.ReadAll(body)
			if string(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %q, error %v, want %q, %v", got, err, tt.want, tt.err)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A library may hide that it is the context that ended.
func TestBody_Cause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(strings.NewReader("abc"), readerFunc(func([]byte) (int, error) { cancel(); return 0, errBoom }))
	body := clientio.NewBody(ctx, io.NopCloser(r), 6)
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) || !errors.Is(err, errBoom) {
		t.Errorf("got error %v, want context.Canceled and boom", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReadPart(t *testing.T) {
	const size = 200_000
	for _, n := range []int{0, 1, 1000, size - 1, size, size + 1, 3 * size} {
		want := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		for name, r := range map[string]io.Reader{
			"plain":       bytes.NewReader(want),
			"data at end": iotest.DataErrReader(bytes.NewReader(want)),
			"half":        iotest.HalfReader(bytes.NewReader(want)),
		} {
			var got []byte
			for more := true; more; {
				part, m, err := clientio.ReadPart(r, size)
				if err != nil {
					t.Fatal(err)
				}
				if len(part) > size || m && len(part) < size {
					t.Errorf("%s, %d bytes: a part of %d, more is %v", name, n, len(part), m)
				}
				if cap(part) > 2*max(len(part), 64<<10) {
					t.Errorf("%s, %d bytes: a part of %d takes %d", name, n, len(part), cap(part))
				}
				got, more = append(got, part...), m
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes come out as %d", name, n, len(got))
			}
		}
	}
	if part, more, err := clientio.ReadPart(iotest.ErrReader(errBoom), size); !errors.Is(err, errBoom) || part != nil || more {
		t.Errorf("%d bytes, more %v, error %v, want boom", len(part), more, err)
	}
}

func TestStatusError(t *testing.T) {
	permanent := func(err error) bool {
		var p interface{ Permanent() bool }
		return errors.As(err, &p) && p.Permanent() || errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported)
	}
	for status, want := range map[int]bool{
		301: true, 400: true, 401: true, 403: true, 405: true, 411: true, 501: true,
		408: false, 425: false, 429: false, 500: false, 502: false, 503: false, 504: false,
	} {
		if err := clientio.StatusError(status, "text"); permanent(err) != want || !strings.Contains(err.Error(), "text") {
			t.Errorf("%v: permanent is %v", err, !want)
		}
	}
}

func TestWithoutURL(t *testing.T) {
	err := clientio.WithoutURL(&url.Error{Op: "Get", URL: "http://host/?sig=secret", Err: errBoom})
	if !errors.Is(err, errBoom) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if err := clientio.WithoutURL(errBoom); err != errBoom {
		t.Errorf("got %v", err)
	}
}

// An error of a server that does not speak TLS says so once, and keeps its cause.
func TestWithoutURL_NoTLS(t *testing.T) {
	err := clientio.WithoutURL(&url.Error{Op: "Get", URL: "https://host", Err: http.ErrSchemeMismatch})
	if !errors.Is(err, http.ErrSchemeMismatch) || strings.Count(err.Error(), "does not speak TLS") != 1 {
		t.Errorf("got %v", err)
	}
	if again := clientio.WithoutURL(&url.Error{Op: "Get", Err: err}); strings.Count(again.Error(), "does not speak TLS") != 1 {
		t.Errorf("got %v", again)
	}
}

// What goes wrong around a file that is stored names the file.
func TestWrite_Errors(t *testing.T) {
	connect := func(err error) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return 1, err }
	}
	store := func(err error) func(int, context.Context, clientio.Upload) (int64, error) {
		return func(int, context.Context, clientio.Upload) (int64, error) { return 1, err }
	}
	for name, tt := range map[string]struct {
		level   int
		body    string
		connect error
		store   error
	}{
		"a level that there is not":   {level: -1},
		"a store that is not there":   {connect: errBoom},
		"a file without a header":     {body: "LTX1"},
		"a store that stores nothing": {body: header(t, 2, 3), store: errBoom},
	} {
		f := clientio.NewFile(tt.level, 2, 3)
		_, err := clientio.Write(t.Context(), f, strings.NewReader(tt.body), connect(tt.connect), store(tt.store))
		if err == nil || !strings.HasPrefix(err.Error(), "write ltx file "+f.String()) {
			t.Errorf("%s: write: %v", name, err)
		}
		_, err = clientio.Create(t.Context(), f, strings.NewReader(tt.body), connect(tt.connect), store(tt.store))
		if err == nil || !strings.HasPrefix(err.Error(), "create ltx file "+f.String()) {
			t.Errorf("%s: create: %v", name, err)
		}
	}
	info, err := clientio.Write(t.Context(), clientio.NewFile(1, 2, 3), strings.NewReader(header(t, 2, 3)), connect(nil), store(nil))
	if err != nil || info.Level != 1 || info.MinTXID != 2 || info.MaxTXID != 3 || info.Size != 1 || info.CreatedAt.UnixMilli() != 1_700_000_000_000 {
		t.Errorf("%+v, %v", info, err)
	}
}

// header returns the header of an LTX file.
func header(t *testing.T, minTXID, maxTXID ltx.TXID) string {
	t.Helper()
	hdr := ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 512, Commit: 1, MinTXID: minTXID, MaxTXID: maxTXID, Timestamp: 1_700_000_000_000}
	b, err := hdr.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A body that fails with its last byte has failed.
func TestBody_FailsAtEnd(t *testing.T) {
	r := clientio.NewBody(t.Context(), io.NopCloser(readerFunc(func(p []byte) (int, error) { return copy(p, "body"), errBoom })), 4)
	if b, err := io.ReadAll(r); !errors.Is(err, errBoom) || string(b) != "body" {
		t.Errorf("%q, %v", b, err)
	}
}

// What is no LTX file, or another one, has no header.
func TestPeekHeader(t *testing.T) {
	hdr := ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 512, Commit: 1, MinTXID: 3, MaxTXID: 4, Timestamp: 1_700_000_000_000}
	right, err := hdr.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	hdr.PageSize = 511
	wrong, err := hdr.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b                []byte
		minTXID, maxTXID ltx.TXID
		want             error
	}{
		"right":         {right, 3, 4, nil},
		"others":        {right, 3, 5, fs.ErrInvalid},
		"other first":   {right, 2, 4, fs.ErrInvalid},
		"a wrong value": {wrong, 3, 4, fs.ErrInvalid},
		"cut off":       {right[:99], 3, 4, io.ErrUnexpectedEOF},
	} {
		got, r, err := clientio.PeekHeader(bytes.NewReader(c.b), c.minTXID, c.maxTXID)
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || got.MaxTXID != 4) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err == nil {
			if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, c.b) {
				t.Errorf("%s: %d bytes, %v", name, len(b), err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := clientio.NewReader(ctx, bytes.NewReader(right)).Read(make([]byte, 9)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes after the end of the context, %v", n, err)
	}
}

func TestCheckLevel(t *testing.T) {
	for level, ok := range map[int]bool{-1: false, 0: true, 1: true, clientio.MaxLevel: true, clientio.MaxLevel + 1: false} {
		if err := clientio.CheckLevel(level); (err == nil) != ok || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("level %d: %v", level, err)
		}
	}
}

func TestCheckRange(t *testing.T) {
	for _, tt := range []struct {
		offset, size int64
		ok           bool
	}{{0, 0, true}, {5, 0, true}, {1 << 62, 1 << 61, true}, {-1, 0, false}, {0, -1, false}, {5, -1, false}, {1 << 62, 1 << 62, false}} {
		if err := clientio.CheckRange(tt.offset, tt.size); errors.Is(err, fs.ErrInvalid) == tt.ok {
			t.Errorf("%d bytes at %d: error %v", tt.size, tt.offset, err)
		}
	}
}

// opener is a client from which a file is copied.
type opener struct {
	body   io.ReadCloser
	err    error
	closed bool
}

func (o *opener) OpenLTXFile(context.Context, int, ltx.TXID, ltx.TXID, int64, int64) (io.ReadCloser, error) {
	return o, o.err
}

func (o *opener) Read(p []byte) (int, error) { return o.body.Read(p) }

func (o *opener) Close() error { o.closed = true; return nil }

// TestCopy copies a file, of which it reads the header, or fails to.
func TestCopy(t *testing.T) {
	hdr := ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 512, Commit: 1, MinTXID: 3, MaxTXID: 4, Timestamp: 1_700_000_000_000}
	head, err := hdr.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	connect := func(context.Context) (string, error) { return "connection", nil }
	f := clientio.File{Level: 1, MinTXID: 3, MaxTXID: 4}
	for name, c := range map[string]struct {
		from     opener
		storeErr error
		want     error
	}{
		"a copy":           {opener{body: io.NopCloser(bytes.NewReader(head))}, nil, nil},
		"no file":          {opener{err: fs.ErrNotExist}, nil, fs.ErrNotExist},
		"it is not copied": {opener{body: io.NopCloser(bytes.NewReader(head))}, errBoom, errBoom},
		"it is cut off":    {opener{body: io.NopCloser(bytes.NewReader(head[:50]))}, nil, io.ErrUnexpectedEOF},
	} {
		stored := 0
		info, err := clientio.Copy(t.Context(), f, &c.from, connect, func(s string, _ context.Context, up clientio.Upload) (int64, error) {
			stored++
			if s != "connection" || up.Body != nil || !up.Create || up.File != f || up.Timestamp.UnixMilli() != hdr.Timestamp {
				t.Errorf("%s: upload %+v with %q", name, up, s)
			}
			return 77, c.storeErr
		})
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || info.Size != 77 || info.Level != 1 || info.MaxTXID != 4 || !info.CreatedAt.Equal(time.UnixMilli(hdr.Timestamp))) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
		if want := c.from.body != nil && name != "it is cut off"; (stored == 1) != want || c.from.closed != (c.from.body != nil) {
			t.Errorf("%s: stored %d times, closed %v", name, stored, c.from.closed)
		}
	}
}

// TestOpen opens a file after its level and its range were checked, and a connection was
// made.
func TestOpen(t *testing.T) {
	for name, c := range map[string]struct {
		level            int
		offset           int64
		connect, open    error
		want             error
		connected, opens int
	}{
		"open":          {1, 5, nil, nil, nil, 1, 1},
		"no level":      {-1, 5, nil, nil, fs.ErrInvalid, 0, 0},
		"no range":      {1, -5, nil, nil, fs.ErrInvalid, 0, 0},
		"no connection": {1, 5, errBoom, nil, errBoom, 1, 0},
		"no file":       {1, 5, nil, fs.ErrNotExist, fs.ErrNotExist, 1, 1},
	} {
		connected, opens := 0, 0
		r, err := clientio.Open(t.Context(), clientio.File{Level: c.level, MinTXID: 1, MaxTXID: 2}, c.offset, 7, func(context.Context) (string, error) {
			connected++
			return "connection", c.connect
		}, func(s string, _ context.Context, f clientio.File, offset, size int64) (io.ReadCloser, error) {
			opens++
			if s != "connection" || f.Level != c.level || offset != c.offset || size != 7 {
				t.Errorf("%s: %d bytes at %d of %s with %q", name, size, offset, f, s)
			}
			return io.NopCloser(strings.NewReader("body")), c.open
		})
		if !errors.Is(err, c.want) || c.want == nil && err != nil || (r != nil) != (c.want == nil) || connected != c.connected || opens != c.opens {
			t.Errorf("%s: %v, %v after %d connections and %d opens", name, r, err, connected, opens)
		}
	}
}

// A read uses the version of a file if it has to return one or to report it.
func TestUsesVersion(t *testing.T) {
	noted := ""
	plain, note := t.Context(), clientio.WithReadNoter(t.Context(), func(version string) { noted = "noted " + version })
	for _, c := range []struct {
		ctx   context.Context
		got   string
		uses  bool
		same  bool
		notes bool
	}{
		{plain, "1", false, true, false},
		{clientio.WithVersion(plain, ""), "1", false, true, false},
		{clientio.WithVersion(plain, "1"), "1", true, true, false},
		{clientio.WithVersion(plain, "1"), `"1"`, true, true, false},
		{clientio.WithVersion(plain, "1"), "", true, true, false},
		{clientio.WithVersion(plain, "1"), "2", true, false, false},
		{note, "3", true, true, true},
		{note, "", true, true, false},
		{clientio.WithVersion(note, "4"), "5", true, false, true},
	} {
		if got := clientio.UsesVersion(c.ctx); got != c.uses {
			t.Errorf("version %q: %v", clientio.Version(c.ctx), got)
		}
		noted = ""
		if err := clientio.CheckVersion(c.ctx, c.got); (err == nil) != c.same || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("version %q, not %q: %v", c.got, clientio.Version(c.ctx), err)
		}
		if c.notes != (noted != "") || c.notes && noted != "noted "+c.got {
			t.Errorf("version %q is noted as %q", c.got, noted)
		}
	}
}

// Many requests at once find their connections again.
func TestTransport(t *testing.T) {
	if tr := clientio.NewTransport(nil); tr.MaxIdleConnsPerHost < 128 || tr.MaxIdleConns != 0 && tr.MaxIdleConns < 128 {
		t.Errorf("keeps %d connections a host, %d in all", tr.MaxIdleConnsPerHost, tr.MaxIdleConns)
	}
	var _ http.RoundTripper = clientio.NewTransport(nil)
}

// A server that speaks HTTP/2 is spoken to in HTTP/1.1, which is faster for many ranges.
func TestTransport_HTTP1(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	tr := clientio.NewTransport(&tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs})
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "HTTP/1.1" {
		t.Errorf("%s, %v", b, err)
	}
}
