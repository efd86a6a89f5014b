package sftp

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/ltxvfs/litestream/internal/clientio"
)

var (
	// lookInterval is how often a connection is looked at. If nothing was received
	// in the meantime while calls wait, the server is asked for a sign of life.
	lookInterval = 5 * time.Second

	// idleInterval is the same for a connection without calls, which keeps
	// firewalls from forgetting it.
	idleInterval = 30 * time.Second

	// deadAfter is how long nothing may be received before a connection is given
	// up, although the server was asked for a sign of life.
	deadAfter = 15 * time.Second
)

// errEnded is the error of calls on a connection that has ended.
var errEnded = errors.New("connection has ended")

// link is a connection to a server, with one SFTP session. The functions of
// package sftp take no context, so each call runs in a goroutine of its own, which
// ends with the answer of the server or with the connection. A listing takes many
// answers, and ends with the first after its context.
type link struct {
	conn   *meteredConn
	ssh    *ssh.Client
	client *sftp.Client

	listings *listings // that are under way

	gone func() // takes the connection out of the pool, so that no other call gets it

	canLink, canReplace, canSync, canStat bool // extensions of the server

	calls  atomic.Int64  // calls under way, including files that are open
	ended  chan struct{} // closed when the connection has ended
	asking atomic.Bool   // a sign of life was asked for

	tasks sync.WaitGroup // goroutines of the connection
	mu    struct {
		sync.Mutex      // orders begin before wait
		closed     bool // no task begins any more
	}
}

func newLink(conn *meteredConn, sshClient *ssh.Client, client *sftp.Client, all *listings) *link {
	l := &link{conn: conn, ssh: sshClient, client: client, listings: all, ended: make(chan struct{})}
	_, l.canLink = client.HasExtension("hardlink@openssh.com")
	_, l.canReplace = client.HasExtension("posix-rename@openssh.com")
	_, l.canStat = client.HasExtension("statvfs@openssh.com")
	_, l.canSync = client.HasExtension("fsync@openssh.com")
	return l
}

// begin runs a function in a goroutine of the connection. It returns false if the
// connection has ended.
func (l *link) begin(fn func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return false
	}
	l.tasks.Go(fn)
	return true
}

// watch looks after the connection until it has ended.
func (l *link) watch() {
	l.tasks.Go(func() {
		_ = l.client.Wait() // the calls get an error of their own
		l.gone()
		l.mu.Lock()
		l.mu.closed = true
		l.mu.Unlock()
		close(l.ended)
		_ = l.ssh.Close() // it has ended already, or is of no use
	})
	l.tasks.Go(func() {
		look := time.NewTicker(lookInterval)
		defer look.Stop()
		for {
			select {
			case <-l.ended:
				return
			case <-look.C:
				l.look()
			}
		}
	})
}

// look closes a connection that gives no sign of life.
func (l *link) look() {
	silence := l.conn.silence()
	switch {
	case silence < lookInterval, l.calls.Load() == 0 && silence < idleInterval:
	case l.asking.CompareAndSwap(false, true):
		l.begin(func() {
			// The answer does not matter: it is heard by l.conn. A connection
			// that was idle gets as much time as any other.
			l.conn.heard.Store(time.Now().Add(-lookInterval).UnixNano())
			_, _, _ = l.ssh.SendRequest("keepalive@openssh.com", true, nil)
			l.asking.Store(false)
		})
	case silence > deadAfter:
		l.close()
	}
}

// close ends the connection.
func (l *link) close() { _ = l.conn.Close() }

// wait waits until the connection has ended and nothing uses it any more.
func (l *link) wait() {
	<-l.ended
	l.tasks.Wait()
}

// release gives back a connection that a pool has given out.
func (l *link) release() { l.calls.Add(-1) }

// do runs a function on a connection of a session and returns its result. It
// returns when the context is done, even if the function does not. Then drop, if
// not nil, gets what the function returns later.
func do[T any](ctx context.Context, s *session, fn func(*link) (T, error), drop func(*link, T)) (T, error) {
	for {
		l, err := s.pool.get(ctx)
		if err != nil {
			var zero T
			return zero, err
		}
		value, err := on(ctx, l, func() (T, error) {
			defer l.release()
			return fn(l)
		}, func(value T) {
			if drop != nil {
				drop(l, value)
			}
		})
		if !errors.Is(err, errEnded) {
			return value, err
		}
		l.release() // it ended since the pool gave it
	}
}

// on runs a function in a goroutine of a connection, as do does. If the connection
// has ended, it returns errEnded instead.
func on[T any](ctx context.Context, l *link, fn func() (T, error), drop func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	results, left := make(chan result), make(chan struct{})
	if !l.begin(func() {
		value, err := fn()
		if errors.Is(err, sftp.ErrSSHFxConnectionLost) {
			l.gone()
		}
		select {
		case results <- result{value, err}:
		case <-left:
			if err == nil {
				drop(value)
			}
		}
	}) {
		return zero, errEnded
	}
	select {
	case r := <-results:
		return r.value, clientio.WithCause(ctx, r.err)
	case <-ctx.Done():
		close(left)
		return zero, ctx.Err()
	}
}
