//go:build linux

package main

import (
	"errors"
	"os"
	"testing"
	"time"
)

// opening is how many bytes a further process may read to open a database: heads and
// tails of LTX files, and the first pages.
const opening = 512 << 10

// TestShare runs eight processes that share one copy, and checks what they cost. The
// processes compare their answers with those of plain SQLite.
func TestShare(t *testing.T) {
	c := config{megabytes: 20, latency: time.Millisecond, poll: 500 * time.Millisecond, pollTime: 5 * time.Second, lookups: 300, runs: 1}
	r, err := c.run(t.Context())
	if _, missing := errors.AsType[*errMissing](err); missing && os.Getenv("LITESTREAM_TEST_ALL") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.print(t.Output())
	n := int64(len(r.all.members))
	if n != 8 {
		t.Errorf("%d processes", n)
	}
	if got, most := r.all.opened.bytes, r.one.opened.bytes*11/10+(n-1)*opening; got > most {
		t.Errorf("%d bytes from storage, one process takes %d", got, r.one.opened.bytes)
	}
	if got, most := r.all.disk, r.one.disk*11/10; got > most || got < r.size {
		t.Errorf("%d bytes on the disk, one process takes %d", got, r.one.disk)
	}
	// Processes that do not share polls take eight times as many.
	if got, most := r.all.polls.requests, 3*r.one.polls.requests; got > most {
		t.Errorf("%d requests for polls, one process takes %d", got, r.one.polls.requests)
	}
}
