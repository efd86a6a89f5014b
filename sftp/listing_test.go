package sftp_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/storetest/sftptest"
	"github.com/ltxvfs/litestream/sftp"
)

// endless returns a client of a server that sends names without end.
func endless(t *testing.T) (*sftptest.Server, *sftp.ReplicaClient) {
	t.Helper()
	s := sftptest.New(t)
	c := newClient(t, s, t.TempDir())
	c.Connections = 1
	if err := write(t.Context(), c, 1, encode(t, 1, 0, 1000)); err != nil {
		t.Fatal(err)
	}
	within(t, "the file is closed", func() bool { return s.Closed.Load() == 1 })
	s.Closed.Store(0)
	s.Endless.Store(true)
	return s, c
}

// list returns the files of level 0.
func list(ctx context.Context, c *sftp.ReplicaClient) ([]*ltx.FileInfo, error) {
	itr, err := c.LTXFiles(ctx, 0, 0, false)
	if err != nil {
		return nil, err
	}
	return ltx.SliceFileIterator(itr)
}

// A folder without an end is an error, before it fills the memory. The connection works
// on.
func TestEndless(t *testing.T) {
	t.Cleanup(sftp.SetMaxListing(10 << 20))
	s, c := endless(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.LTXFiles(ctx, 0, 0, false); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("listing: %v", err)
	}
	if _, err := c.Survey(ctx, ""); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("survey: %v", err)
	}
	s.Endless.Store(false)
	s.Take()
	if infos, err := list(ctx, c); err != nil || len(infos) != 1 {
		t.Errorf("afterwards %d files are listed, %v", len(infos), err)
	}
	if text := s.Take(); !strings.Contains(text, "connections: 0") {
		t.Errorf("another connection was made: %s", text)
	}
}

// After its caller has gone, a listing does not go on.
func TestEndless_Canceled(t *testing.T) {
	s, c := endless(t)
	for n := range int64(3) {
		s.Take()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := c.LTXFiles(ctx, 0, 0, false)
			done <- err
		}()
		within(t, "the folder is read", func() bool { return strings.Contains(s.Take(), "readdir") })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		// Until then, the next listing would be taken for one that reads.
		within(t, "the folder is given back", func() bool { return s.Closed.Load() == n+1 })
	}
	s.Endless.Store(false)
	if infos, err := list(t.Context(), c); err != nil || len(infos) != 1 {
		t.Errorf("afterwards %d files are listed, %v", len(infos), err)
	}
}
