package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// FuzzListing fuzzes the answers to the listings of a client. Whatever the store
// answers, a listing has only files that were asked for, in order, or ends in an error.
// NewClient returns a client of a replica whose requests go to a transport. Header is
// that of all answers, those to requests for metadata included. The first seed is a
// whole listing with the transactions 2 and 3 on level 0, and others are parts or wrong.
func FuzzListing(f *testing.F, header http.Header, newClient func(tr http.RoundTripper) replica.Client, seeds ...string) {
	right := newClient(&fixedAnswers{header: header, bodies: [][]byte{[]byte(seeds[0])}})
	itr, err := right.LTXFiles(f.Context(), 0, 2, false)
	if err != nil {
		f.Fatal(err)
	}
	if infos, err := ltx.SliceFileIterator(itr); err != nil || len(infos) != 2 || infos[1].MinTXID != 3 || infos[1].Size == 0 {
		f.Fatalf("the first seed has %d files, error %v", len(infos), err)
	}
	for _, seed := range seeds {
		f.Add([]byte(seed), []byte(seeds[0]), false)
		f.Add([]byte(seed), []byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, first, other []byte, useMetadata bool) {
		for _, level := range []int{-1, 0, replica.SnapshotLevel} {
			const seek = 2
			pages := &fixedAnswers{header: header, bodies: [][]byte{first, other, other}}
			c := newClient(pages)
			open := func(ctx context.Context) (ltx.FileIterator, error) { return c.LTXFiles(ctx, level, seek, useMetadata) }
			if level < 0 {
				open = func(ctx context.Context) (ltx.FileIterator, error) {
					return c.(replica.AllLTXFilesLister).AllLTXFiles(ctx, useMetadata)
				}
			}
			if err := checkListing(t, open, level, seek); err == nil && len(pages.bodies) == 3 {
				t.Error("success without a request")
			}
			if closer, ok := c.(io.Closer); ok {
				_ = closer.Close() // there is nothing that could fail to be written
			}
		}
	})
}

// checkListing checks the items of a listing, and returns its error.
func checkListing(t *testing.T, open func(context.Context) (ltx.FileIterator, error), level int, seek ltx.TXID) error {
	itr, err := open(t.Context())
	if err != nil {
		return err
	}
	last := ltx.FileInfo{Level: -1}
	for itr.Next() {
		info := *itr.Item()
		switch order := cmp.Or(cmp.Compare(info.Level, last.Level), cmp.Compare(info.MinTXID, last.MinTXID), cmp.Compare(info.MaxTXID, last.MaxTXID)); {
		case level >= 0 && (info.Level != level || info.MinTXID < seek):
			t.Errorf("%+v was not asked for", info)
		case info.Level < 0 || info.Level > replica.SnapshotLevel || info.MinTXID == 0 || info.MaxTXID < info.MinTXID || info.Size < 0:
			t.Errorf("%+v is no file", info)
		case order <= 0:
			t.Errorf("%+v comes after %+v", info, last)
		}
		last = info
	}
	return errors.Join(itr.Err(), itr.Close())
}

// errNoMore is the error of requests for which there is no answer.
var errNoMore = clientio.Permanent(errors.New("there are no more answers"))

// fixedAnswers is a transport with an answer for each page of a listing, one after the
// other.
type fixedAnswers struct {
	header http.Header
	bodies [][]byte // only listings use it, a page at a time
}

// RoundTrip implements http.RoundTripper.
func (a *fixedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if req.Method != http.MethodHead {
		if len(a.bodies) == 0 {
			return nil, errNoMore
		}
		body, a.bodies = a.bodies[0], a.bodies[1:]
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}, nil
}
