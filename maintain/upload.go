package maintain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// uploadTime returns the time limit of an upload of n bytes. As with reads, each part
// may take as long as a request, and a second for each MiB is always granted.
func (s *session) uploadTime(n int64) time.Duration {
	if s.timeout < 0 {
		return s.timeout
	}
	return max(task.TransferTime(s.timeout, n), s.timeout*time.Duration(1+n/partSize))
}

// withinUpload is within for a request that writes n bytes.
func (s *session) withinUpload(ctx context.Context, n int64) (context.Context, context.CancelFunc) {
	return task.WithTimeout(ctx, s.uploadTime(n))
}

// upload limits how long a store takes for a file, with its repetitions. The time in
// which the body is made does not count: it waits for other requests, which have limits
// of their own, or for the program that gives the pages.
type upload struct {
	ctx    context.Context // of the requests; done when the store has taken too long
	cancel context.CancelFunc
	key    view.Key
	limit  func(bytes int64) time.Duration

	mu struct {
		sync.Mutex
		timer   *time.Timer   // nil: there is no limit
		bytes   int64         // that the store was given
		used    time.Duration // by earlier waits for the store
		since   time.Time     // begin of the wait for the store; zero: nothing waits for it
		expired bool
	}
}

// startUpload begins to wait for the store. The caller calls end.
func (s *session) startUpload(ctx context.Context, key view.Key) *upload {
	u := &upload{key: key, limit: s.uploadTime}
	u.ctx, u.cancel = context.WithCancel(ctx)
	if s.timeout >= 0 {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.mu.since = time.Now()
		u.mu.timer = time.AfterFunc(u.limit(0), u.expire)
	}
	return u
}

// body returns encode for a request. The store is waited for before it is called, while
// it writes, and after it.
func (u *upload) body(encode func(io.Writer) error) func(io.Writer) error {
	return func(w io.Writer) error {
		u.pause()
		defer u.wait(0)
		return encode(uploadWriter{u, w})
	}
}

// uploadWriter writes the body of an upload.
type uploadWriter struct {
	u *upload
	w io.Writer
}

func (w uploadWriter) Write(p []byte) (int, error) {
	w.u.wait(len(p))
	defer w.u.pause()
	return w.w.Write(p)
}

// wait begins to wait for the store, which is given n bytes.
func (u *upload) wait(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mu.timer != nil {
		u.mu.bytes += int64(n)
		u.mu.since = time.Now()
		u.mu.timer.Reset(u.limit(u.mu.bytes) - u.mu.used)
	}
}

// pause ends a wait for the store.
func (u *upload) pause() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mu.timer != nil {
		u.mu.timer.Stop()
		u.mu.used += time.Since(u.mu.since)
		u.mu.since = time.Time{}
	}
}

// expire ends the upload, unless the wait has ended meanwhile.
func (u *upload) expire() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.mu.since.IsZero() && u.mu.used+time.Since(u.mu.since) >= u.limit(u.mu.bytes) {
		u.mu.expired = true
		u.cancel()
	}
}

// end releases what the upload takes. It returns err, or an error that says that the
// store has taken too long.
func (u *upload) end(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mu.timer != nil {
		u.mu.timer.Stop()
	}
	u.cancel()
	if u.mu.expired && (errors.Is(err, context.Canceled) || err != nil && !errs.IsPermanent(err)) {
		return fmt.Errorf("create %s: the store has not answered within %s: %w", u.key, u.limit(u.mu.bytes), context.DeadlineExceeded)
	}
	return err
}
