package clientio_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
)

func TestRangeHeader(t *testing.T) {
	for want, r := range map[string][2]int64{"bytes=0-": {0, 0}, "bytes=7-": {7, 0}, "bytes=0-0": {0, 1}, "bytes=5-9": {5, 5}} {
		if got := clientio.RangeHeader(r[0], r[1]); got != want {
			t.Errorf("%v: got %s, want %s", r, got, want)
		}
	}
}

func TestRangeLength(t *testing.T) {
	for _, tt := range []struct {
		header               string
		length, offset, size int64
		want                 int64 // negative: an error
	}{
		{"bytes 2-4/10", 3, 2, 3, 3},
		{"bytes 2-4/10", -1, 2, 3, 3},
		{"bytes 2-2/10", 1, 2, 1, 1},
		{"bytes 2-9/10", 8, 2, 1, -1},
		{"bytes 7-9/10", 3, 7, 0, 3},
		{"bytes 7-9/10", 3, 7, 9, 3},
		{"bytes 10-9/10", 0, 10, 3, 0},
		{"bytes 2-4/10", 2, 2, 3, -1},
		{"bytes 3-5/10", 3, 2, 3, -1},
		{"bytes 1-4/10", 4, 2, 3, -1},
		{"bytes 2-3/10", 2, 2, 3, -1},
		{"bytes 2-5/10", 4, 2, 3, -1},
		{"bytes 2-8/10", 7, 2, 0, -1},
		{"bytes 4-2/10", 3, 2, 3, -1},
		{"bytes 2-4/*", 3, 2, 3, -1},
		{"bytes 2-4/4", 3, 2, 3, -1},
		{"bytes 2-4/99999999999999999999", 3, 2, 3, -1},
		{"bytes +2-4/10", 3, 2, 3, -1},
		{"2-4/10", 3, 2, 3, -1},
		{"bytes 2/10", 3, 2, 3, -1},
		{"bytes 24/10", 3, 2, 3, -1},
		{"bytes 2-4", 3, 2, 3, -1},
		{"bytes -4/10", 3, 2, 3, -1},
		{"", 3, 2, 3, -1},
	} {
		got, err := clientio.RangeLength(tt.header, tt.length, tt.offset, tt.size)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%q, length %d, for %d bytes at %d: got %d, %v", tt.header, tt.length, tt.size, tt.offset, got, err)
		}
	}
}

func TestBodyLength(t *testing.T) {
	for _, tt := range []struct {
		status       int
		length       int64
		contentRange string
		ranged       bool
		offset, size int64
		want         int64 // negative: an error
	}{
		{status: 200, length: 10, want: 10},
		{status: 200, length: 0, want: 0},
		{status: 200, length: -1, want: -1},
		{status: 206, length: 10, want: -1},
		{status: 200, length: 10, contentRange: "bytes 0-9/10", want: -1},
		{status: 206, length: 3, contentRange: "bytes 2-4/10", ranged: true, offset: 2, size: 3, want: 3},
		{status: 206, length: 3, contentRange: "bytes 3-5/10", ranged: true, offset: 2, size: 3, want: -1},
		{status: 206, length: 3, ranged: true, offset: 2, size: 3, want: -1},
		{status: 200, length: 3, contentRange: "bytes 2-4/10", ranged: true, offset: 2, size: 3, want: -1},
	} {
		resp := &http.Response{StatusCode: tt.status, ContentLength: tt.length, Header: http.Header{}}
		if tt.contentRange != "" {
			resp.Header.Set("Content-Range", tt.contentRange)
		}
		got, err := clientio.BodyLength(resp, tt.ranged, tt.offset, tt.size)
		var permanent interface{ Permanent() bool }
		switch {
		case tt.want < 0 && (!errors.As(err, &permanent) || got != 0):
			t.Errorf("%+v: %d, %v", tt, got, err)
		case tt.want >= 0 && (err != nil || got != tt.want):
			t.Errorf("%+v: %d, %v", tt, got, err)
		}
	}
}

func TestEndsBefore(t *testing.T) {
	const large = 1<<63 - 2
	for header, want := range map[string]bool{"bytes */9223372036854775806": true, "bytes */9223372036854775807": false, "bytes */9223372036854775808": false} {
		if got := clientio.EndsBefore(header, large); got != want {
			t.Errorf("%q: got %v", header, got)
		}
	}
	for header, want := range map[string]bool{"bytes */10": true, "bytes */9": true, "bytes */11": false, "": true, "bytes */x": false, "bytes 0-3/11": true} {
		if got := clientio.EndsBefore(header, 10); got != want {
			t.Errorf("%q: got %v", header, got)
		}
	}
}

// What is accepted is what was asked for.
func FuzzRangeLength(f *testing.F) {
	f.Add("bytes 5-9/20", int64(5), int64(5), int64(5))
	f.Add("bytes 10-9/10", int64(0), int64(10), int64(0))
	f.Add("bytes 0-9223372036854775806/9223372036854775807", int64(-1), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, header string, length, offset, size int64) {
		if clientio.CheckRange(offset, size) != nil {
			return
		}
		n, err := clientio.RangeLength(header, length, offset, size)
		if err != nil {
			return
		}
		var first, last, total int64
		if _, err := fmt.Sscanf(header, "bytes %d-%d/%d", &first, &last, &total); err != nil {
			t.Fatalf("%q is accepted", header)
		}
		if n < 0 || size > 0 && n > size || first != offset || offset+n > total || length >= 0 && n != length {
			t.Errorf("%q gives %d bytes for %d at %d", header, n, size, offset)
		}
	})
}
