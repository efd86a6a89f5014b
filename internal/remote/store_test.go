package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// readClient is a replica in memory whose reads go through a function.
type readClient struct {
	*memory.ReplicaClient
	open func(offset, size int64) (io.ReadCloser, error)
}

func (c readClient) OpenLTXFile(_ context.Context, _ int, _, _ ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return c.open(offset, size)
}

func body(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

type permanentError struct{ permanent bool }

func (e permanentError) Error() string   { return "store says no" }
func (e permanentError) Permanent() bool { return e.permanent }

// TestStore_RetriesTransientErrors reads through failures that pass, and
// gives up at once on those that do not.
func TestStore_RetriesTransientErrors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		err     error
		retried bool
	}{
		{"reset", errors.New("connection reset"), true},
		{"time-out of a part", fmt.Errorf("tls: %w", context.DeadlineExceeded), true},
		{"cut off", io.ErrUnexpectedEOF, true},
		{"says it is transient", permanentError{false}, true},
		{"says it is permanent", permanentError{true}, false},
		{"missing", fmt.Errorf("get: %w", fs.ErrNotExist), false},
		{"forbidden", fs.ErrPermission, false},
		{"unsupported", errors.ErrUnsupported, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				s := &Store{Client: readClient{open: func(int64, int64) (io.ReadCloser, error) {
					if attempts++; attempts < 4 {
						return nil, tc.err
					}
					return body("abcd"), nil
				}}}
				buf := make([]byte, 4)
				err := s.read(t.Context(), view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, buf, 0)
				switch {
				case tc.retried && (err != nil || string(buf) != "abcd" || attempts != 4):
					t.Errorf("%q after %d attempts: %v", buf, attempts, err)
				case !tc.retried && (!errors.Is(err, tc.err) || attempts != 1):
					t.Errorf("%d attempts: %v", attempts, err)
				}
			})
		})
	}
}

func TestStore_ShortBodyIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bodies := []string{"", "abc", "abcd"}
		s := &Store{Client: readClient{open: func(int64, int64) (io.ReadCloser, error) {
			b := bodies[0]
			bodies = bodies[1:]
			return body(b), nil
		}}}
		buf := make([]byte, 4)
		if err := s.read(t.Context(), view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, buf, 0); err != nil || string(buf) != "abcd" {
			t.Errorf("%q, %v", buf, err)
		}
		if s.Retries.Load() != 2 {
			t.Errorf("%d retries, want 2", s.Retries.Load())
		}
	})
}

// TestStore_ShortFileIsCorrupt reads a body that ends in the same place twice:
// that is where the file ends.
func TestStore_ShortFileIsCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{Client: readClient{open: func(int64, int64) (io.ReadCloser, error) { return body("abc"), nil }}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.read(ctx, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, make([]byte, 4), 100)
		if !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), "it ends at 103") {
			t.Errorf("error is %v", err)
		}
		if n := readsOf(s); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
	})
}

// TestStore_RetryEndsWithContext keeps failing: the error names both the
// limit and the cause.
func TestStore_RetryEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("connection reset")
		s := &Store{Client: readClient{open: func(int64, int64) (io.ReadCloser, error) { return nil, broken }}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := s.read(ctx, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, make([]byte, 4), 0)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, broken) {
			t.Errorf("error is %v", err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("gave up after %v", d)
		}
		if n := readsOf(s); n < 20 || n > 100 {
			t.Errorf("%d attempts in a minute", n)
		}
	})
}

// TestStore_RetryEndsInAttempt has the limit come while fn runs: the error is the one of
// a limit that comes between two attempts.
func TestStore_RetryEndsInAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("list: connection reset")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		attempts := 0
		err := new(Store).Retry(ctx, func() error {
			if attempts++; attempts == 1 {
				return broken
			}
			<-ctx.Done()
			return fmt.Errorf("list: %w", ctx.Err())
		})
		if want := "context deadline exceeded: list: connection reset"; err == nil || err.Error() != want || !errors.Is(err, broken) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d attempts: %v, want %s", attempts, err, want)
		}
	})
}

// listClient gives one listing for every level.
type listClient struct {
	*memory.ReplicaClient
	items []*ltx.FileInfo
	err   error
}

func (c listClient) LTXFiles(context.Context, int, ltx.TXID, bool) (ltx.FileIterator, error) {
	return &failingIterator{FileInfoSliceIterator: ltx.NewFileInfoSliceIterator(c.items), err: c.err}, nil
}

func (c listClient) AllLTXFiles(context.Context, bool) (ltx.FileIterator, error) {
	return nil, fmt.Errorf("list: %w", errors.ErrUnsupported)
}

type failingIterator struct {
	*ltx.FileInfoSliceIterator
	err error
}

func (itr *failingIterator) Err() error { return itr.err }

func TestStore_ListDoesNotTrust(t *testing.T) {
	for _, item := range []*ltx.FileInfo{
		{Level: 0, MinTXID: 5, MaxTXID: 4},
		{Level: 0, MinTXID: 0, MaxTXID: 4},
		{Level: -1, MinTXID: 1, MaxTXID: 4},
		{Level: 10, MinTXID: 1, MaxTXID: 4},
	} {
		s := &Store{Client: listClient{items: []*ltx.FileInfo{item}}}
		if _, err := s.List(t.Context(), 0, 0, false); !errors.Is(err, errs.ErrCorrupt) {
			t.Errorf("%v is listed: %v", view.KeyOf(item), err)
		}
	}
	// A client that seeks less precisely than asked, or lists more than one
	// level.
	s := &Store{Client: listClient{items: []*ltx.FileInfo{
		{Level: 0, MinTXID: 3, MaxTXID: 3}, {Level: 0, MinTXID: 4, MaxTXID: 4}, {Level: 1, MinTXID: 1, MaxTXID: 4},
	}}}
	files, err := s.List(t.Context(), 0, 4, false)
	if err != nil || len(files) != 1 || files[0].MaxTXID != 4 {
		t.Errorf("got %v, %v", files, err)
	}
	// A listing that fails at its end is no listing.
	broken := errors.New("page 2 of the listing is missing")
	s = &Store{Client: listClient{items: []*ltx.FileInfo{{Level: 0, MinTXID: 3, MaxTXID: 3}}, err: broken}}
	if _, err := s.List(t.Context(), 0, 0, false); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestStore_ListAllFallsBack(t *testing.T) {
	s := &Store{Client: listClient{items: []*ltx.FileInfo{{Level: 3, MinTXID: 1, MaxTXID: 9}}}}
	files, err := s.ListAll(t.Context(), false)
	if err != nil || len(files) != 1 {
		t.Errorf("got %v, %v", files, err)
	}
	if n := s.Lists.Load(); n != view.Levels {
		t.Errorf("%d lists, want one for each of %d levels", n, view.Levels)
	}
}

// readsOf returns how many read requests there were.
func readsOf(s *Store) int64 {
	n, _ := s.TotalReads()
	return n
}
