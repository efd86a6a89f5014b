package webdav

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// lockName is the name in the folder of a level that a client locks while it
	// creates a file.
	lockName = ".create-lock"

	// lockTime is for how long a lock lasts if the client that has it dies, as far as
	// the server does not grant less. A client uses half of that.
	lockTime = time.Minute
)

// heldLock is a lock that the server has granted.
type heldLock struct {
	token string
	asked time.Time     // from when on it may last
	lasts time.Duration // if the client does not end it
}

// usable is for how long the client may rely on the lock, from when it was asked for.
func (l heldLock) usable() time.Duration { return l.lasts / 2 }

// createLocked stores content under a name, unless that exists, while it holds a lock.
func (s *session) createLocked(ctx context.Context, name string, content body) error {
	return s.putThen(ctx, name, content, func(temp string) error { return s.moveLocked(ctx, temp, name) })
}

// moveLocked gives a file another name, unless that exists.
func (s *session) moveLocked(ctx context.Context, from, to string) error {
	name := path.Join(path.Dir(to), lockName)
	lock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer s.unlock(ctx, name, lock.token)
	lockedCtx, cancel := context.WithDeadline(ctx, lock.asked.Add(lock.usable()))
	defer cancel()
	err = lockedCtx.Err()
	if err == nil {
		err = s.checkExclusive(lockedCtx, name)
	}
	if err == nil {
		err = s.move(lockedCtx, from, to, false)
	}
	if err != nil && ctx.Err() == nil && lockedCtx.Err() != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("server did not move the file within %s after it was asked for a lock", lock.usable())
	}
	return err
}

// lockInfo is the body of a request for a lock.
const lockInfo = `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>` +
	`<D:locktype><D:write/></D:locktype><D:owner>litestream</D:owner></D:lockinfo>`

// lock locks a name. It waits while another client has it.
func (s *session) lock(ctx context.Context, name string) (heldLock, error) {
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		lock, status, err := s.askLock(ctx, name)
		if status != http.StatusLocked || !clientio.Pause(ctx, wait) {
			return lock, err
		}
	}
}

// askLock asks for a lock once.
func (s *session) askLock(ctx context.Context, name string) (lock heldLock, status int, err error) {
	header := http.Header{"Timeout": {fmt.Sprintf("Second-%d", int(lockTime.Seconds()))}, "Depth": {"0"}, "Content-Type": {"application/xml; charset=utf-8"}}
	lock = heldLock{asked: time.Now(), lasts: lockTime}
	status, answer, err := s.doWith(ctx, "LOCK", name, header, text(lockInfo), func(body io.Reader) {
		lock.lasts = min(lock.lasts, grantedTime(body))
	}, http.StatusOK, http.StatusCreated)
	switch {
	case status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented, status == http.StatusBadRequest:
		return heldLock{}, status, fmt.Errorf("%w: server has no locks, without which two writers could create one file: %w", err, errors.ErrUnsupported)
	case err != nil:
		return heldLock{}, status, err
	}
	lock.token = strings.Trim(strings.TrimSpace(answer.Get("Lock-Token")), "<>")
	if _, err := url.Parse(lock.token); lock.token == "" || err != nil {
		return heldLock{}, status, errors.New("LOCK: answer has no token of a lock")
	}
	return lock, status, nil
}

// grantedTime returns for how long the locks last that an answer lists, lockTime if it
// does not say that.
func grantedTime(body io.Reader) time.Duration {
	granted := lockTime
	for decoder := xml.NewDecoder(body); ; {
		token, err := decoder.Token()
		if err != nil {
			return granted // the rest says nothing that could be understood
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "timeout" {
			continue
		}
		var value string
		if err := decoder.DecodeElement(&value, &start); err != nil {
			return granted
		}
		for each := range strings.SplitSeq(value, ",") {
			number, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(each)), "second-")
			if seconds, err := strconv.ParseUint(number, 10, 32); ok && err == nil {
				granted = min(granted, time.Duration(seconds)*time.Second)
			}
		}
	}
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
	lock, status, err := s.askLock(ctx, name)
	switch {
	case err == nil:
		s.unlock(ctx, name, lock.token)
		return errNotExclusive
	case status != http.StatusLocked:
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.exclusive = true
	return nil
}
