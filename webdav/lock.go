package webdav

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// lockName is the name in the folder of a level that a client locks while it
	// creates a file.
	lockName = ".create-lock"

	// lockTime is for how long a lock lasts if the client that has it dies.
	// publishTime is how much of it a client uses.
	lockTime    = time.Minute
	publishTime = lockTime / 2
)

// createLocked stores content under a name, unless that exists, while it holds a lock.
func (s *session) createLocked(ctx context.Context, name string, content body) error {
	return s.putThen(ctx, name, content, func(temp string) error { return s.moveLocked(ctx, temp, name) })
}

// moveLocked gives a file another name, unless that exists.
func (s *session) moveLocked(ctx context.Context, from, to string) error {
	name := path.Join(path.Dir(to), lockName)
	token, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer s.unlock(ctx, name, token)
	if err := s.checkExclusive(ctx, name); err != nil {
		return err
	}
	moveCtx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	err = s.move(moveCtx, from, to, false)
	if err != nil && ctx.Err() == nil && moveCtx.Err() != nil {
		return fmt.Errorf("server did not move the file within %s", publishTime)
	}
	return err
}

// lockInfo is the body of a request for a lock.
const lockInfo = `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>` +
	`<D:locktype><D:write/></D:locktype><D:owner>litestream</D:owner></D:lockinfo>`

// lock locks a name and returns the token of the lock. It waits while another client
// has it.
func (s *session) lock(ctx context.Context, name string) (token string, err error) {
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		token, status, err := s.askLock(ctx, name)
		if status != http.StatusLocked || !clientio.Pause(ctx, wait) {
			return token, err
		}
	}
}

// askLock asks for a lock once.
func (s *session) askLock(ctx context.Context, name string) (token string, status int, err error) {
	header := http.Header{"Timeout": {fmt.Sprintf("Second-%d", int(lockTime.Seconds()))}, "Depth": {"0"}, "Content-Type": {"application/xml; charset=utf-8"}}
	status, answer, err := s.do(ctx, "LOCK", name, header, text(lockInfo), http.StatusOK, http.StatusCreated)
	switch {
	case status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented, status == http.StatusBadRequest:
		return "", status, fmt.Errorf("%w: server has no locks, without which two writers could create one file: %w", err, errors.ErrUnsupported)
	case err != nil:
		return "", status, err
	}
	token = strings.Trim(strings.TrimSpace(answer.Get("Lock-Token")), "<>")
	if _, err := url.Parse(token); token == "" || err != nil {
		return "", status, errors.New("LOCK: answer has no token of a lock")
	}
	return token, status, nil
}

// unlock ends a lock. If that fails, the lock ends by itself.
func (s *session) unlock(ctx context.Context, name, token string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_, _, _ = s.do(ctx, "UNLOCK", name, http.Header{"Lock-Token": {"<" + token + ">"}}, nil, http.StatusNoContent, http.StatusOK)
}

// checkExclusive asks once in a session whether the server refuses the lock of a name
// that the client has locked. Some servers grant every lock, for clients that insist on
// one.
func (s *session) checkExclusive(ctx context.Context, name string) error {
	s.mu.Lock()
	known := s.mu.exclusive
	s.mu.Unlock()
	if known {
		return nil
	}
	token, status, err := s.askLock(ctx, name)
	switch {
	case err == nil:
		s.unlock(ctx, name, token)
		return errNotExclusive
	case status != http.StatusLocked:
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.exclusive = true
	return nil
}
