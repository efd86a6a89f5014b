package maintain_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// hanging is a store that does not answer to uploads.
type hanging struct {
	writable
	takes bool // the content, before it hangs
	calls *atomic.Int64
}

func (h hanging) WriteLTXFile(ctx context.Context, _ int, _, _ ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	h.calls.Add(1)
	if h.takes {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return nil, err
		}
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (h hanging) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return h.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}

// CopyLTXFile hangs, too.
func (h hanging) CopyLTXFile(ctx context.Context, _ replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
	return h.WriteLTXFile(ctx, level, minTXID, maxTXID, strings.NewReader(""))
}

var (
	_ replica.LTXFileCreator = hanging{}
	_ replica.LTXFileCopier  = hanging{}
)

// An upload to a store that hangs ends at its limit.
func TestRequests_UploadTimeout(t *testing.T) {
	src, _ := database(t)
	plain := layered(t)
	big, _ := large(t)
	flipped := maps.Clone(plain)
	flipped[key(9, 1, 10)] = flip(flipped[key(9, 1, 10)])
	renamed := maps.Clone(plain)
	renamed[key(0, 20, 20)] = renamed[key(0, 14, 14)]
	delete(renamed, key(0, 14, 14))
	none := bucket{}
	copyTo := func(from bucket) func(ctx context.Context, to replica.Client, r maintain.Requests) error {
		return func(ctx context.Context, to replica.Client, r maintain.Requests) error {
			_, err := maintain.Copy(ctx, from, to, maintain.CopyOptions{Requests: r})
			return err
		}
	}
	repair := func(ctx context.Context, client replica.Client, r maintain.Requests) error {
		_, err := maintain.Repair(ctx, client, maintain.RepairOptions{Requests: r})
		return err
	}
	for name, tt := range map[string]struct {
		there bucket
		run   func(ctx context.Context, client replica.Client, r maintain.Requests) error
	}{
		"copy":          {none, copyTo(plain)},
		"copy in parts": {none, copyTo(big)},
		"watch": {none, func(ctx context.Context, client replica.Client, r maintain.Requests) error {
			_, err := maintain.Copy(ctx, plain, client, maintain.CopyOptions{Requests: r, Watch: new(maintain.Watch)})
			return err
		}},
		"fork": {none, func(ctx context.Context, client replica.Client, r maintain.Requests) error {
			_, err := maintain.Fork(ctx, big, client, maintain.ForkOptions{Requests: r})
			return err
		}},
		"import": {none, func(ctx context.Context, client replica.Client, r maintain.Requests) error {
			_, err := maintain.Import(ctx, client, src, maintain.ImportOptions{Requests: r})
			return err
		}},
		"snapshot": {plain, func(ctx context.Context, client replica.Client, r maintain.Requests) error {
			_, err := maintain.Snapshot(ctx, client, maintain.SnapshotOptions{Requests: r})
			return err
		}},
		"compact": {plain, func(ctx context.Context, client replica.Client, r maintain.Requests) error {
			_, err := maintain.Compact(ctx, client, maintain.CompactOptions{Requests: r, Level: 3, Young: true})
			return err
		}},
		"repair of a damaged file": {flipped, repair},
		"repair of a renamed file": {renamed, repair},
	} {
		for _, takes := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", the store takes nothing", true: ", the store takes all"}[takes], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					client := hanging{writable{maps.Clone(tt.there)}, takes, new(atomic.Int64)}
					start := time.Now()
					err := tt.run(ctx, client, maintain.Requests{Timeout: 100 * time.Millisecond})
					if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || ctx.Err() != nil {
						t.Errorf("after %s: %v", time.Since(start), err)
					}
					if client.calls.Load() == 0 {
						t.Error("nothing was uploaded")
					}
					// The large file takes some 15 s, and its upload may follow a copy inside.
					if took := time.Since(start); took > 2*20*time.Second {
						t.Errorf("it has taken %s", took)
					}
				})
			})
		}
	}
}

// An upload without a limit waits for as long as its context.
func TestRequests_NoUploadTimeout(t *testing.T) {
	plain := layered(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		client := hanging{writable{bucket{}}, true, new(atomic.Int64)}
		start := time.Now()
		_, err := maintain.Copy(ctx, plain, client, maintain.CopyOptions{Requests: maintain.Requests{Timeout: -1}})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

// Reads that are slow, but within their limit, do not end the upload of what they are
// read for, however many there are.
func TestRequests_SlowReads(t *testing.T) {
	src, image := database(t)
	plain := layered(t)
	delete(plain, key(9, 1, 10))
	for name, run := range map[string]func(ctx context.Context, client replica.Client, r maintain.Requests) error{
		"snapshot": func(ctx context.Context, client replica.Client, r maintain.Requests) error {
			made, err := maintain.Snapshot(ctx, client, maintain.SnapshotOptions{Requests: r})
			if err == nil && !made.Made {
				err = errors.New("there was nothing to do")
			}
			return err
		},
		"import": func(ctx context.Context, _ replica.Client, r maintain.Requests) error {
			_, err := maintain.Import(ctx, writable{bucket{}}, slowSource{src}, maintain.ImportOptions{Requests: r})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := slow{writable{maps.Clone(plain)}, new(atomic.Int64), new(atomic.Int64)}
				start := time.Now()
				err := run(t.Context(), client, maintain.Requests{Timeout: 1500 * time.Millisecond, Concurrency: 1})
				if took := time.Since(start); err != nil || took < 5*time.Second {
					t.Errorf("after %s of %d bytes: %v", took, len(image), err)
				}
			})
		})
	}
}

// slowSource is a source that takes a second for a page.
type slowSource struct{ maintain.Source }

func (s slowSource) ReadPage(ctx context.Context, pgno uint32, page []byte) error {
	time.Sleep(time.Second)
	return s.Source.ReadPage(ctx, pgno, page)
}

// spoiling is a store that damages what it is given, and does not answer to deletions.
type spoiling struct{ writable }

func (s spoiling) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	info, err := s.writable.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
	if err == nil {
		k := view.KeyOf(info)
		s.bucket[k] = flip(s.bucket[k])
	}
	return info, err
}

func (s spoiling) DeleteLTXFiles(ctx context.Context, _ []*ltx.FileInfo) error {
	<-ctx.Done()
	return ctx.Err()
}

// The deletion of a file that is damaged as it is read back ends at its limit.
func TestRequests_DeleteTimeout(t *testing.T) {
	plain := layered(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err := maintain.Snapshot(ctx, spoiling{writable{plain}}, maintain.SnapshotOptions{Requests: maintain.Requests{Timeout: time.Second}})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errs.ErrCorrupt) || took > time.Minute {
			t.Errorf("after %s: %v", took, err)
		}
	})
}
