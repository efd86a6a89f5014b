package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/task"
)

// sharedDB is a database and the number of connections that use it.
type sharedDB struct {
	name    string  // of the file by which it was opened first
	opts    Options // complete
	opening *opening
	ready   chan struct{} // closed when db and err are set
	db      *database
	err     error
	closed  chan struct{} // closed when the database is closed

	closing context.Context         // context of the close after the last connection
	hurry   context.CancelCauseFunc // ends it

	conns     int       // guarded by names.mu
	gone      int       // guarded by names.mu; number of these that do not wait for the open any more
	until     time.Time // guarded by names.mu; when it is closed if no connection joins it; zero while it is in use
	isClosing bool      // guarded by names.mu; true once it is to be closed

	timer *time.Timer // guarded by names.mu; fires at until; nil before the first time that no connection was left
}

// acquire returns the database of a key. The first caller has it opened, and all
// wait for it until their ctx ends. The open goes on without them, unless it waits
// for the first files of a replica, and the database is closed afterwards if no
// other connection uses it.
func (v *VFS) acquire(ctx context.Context, key, name string, newClient newClientFunc, opts Options) (*database, func(), error) {
	s, how, err := v.names.join(key, name, opts)
	if err != nil {
		return nil, nil, err
	}
	switch how {
	case joinClosing:
		if err := v.awaitClosed(ctx, s, opts.OpenTimeout); err != nil {
			return nil, nil, err
		}
		return v.acquire(ctx, key, name, newClient, opts)
	case joinOutdated:
		v.closeShared(key, s)
		return v.acquire(ctx, key, name, newClient, opts)
	case joinFirst:
		if ctx.Done() == nil {
			v.openShared(key, s, name, newClient, opts)
		} else {
			go v.openShared(key, s, name, newClient, opts) // OpenTimeout and VFS.Close end it
		}
	}
	select {
	case <-s.ready: // bounded by the OpenTimeout of the first caller
	case <-ctx.Done():
		v.names.stopWaiting(s)
		go func() {
			<-s.ready
			v.release(key, s)
		}()
		return nil, nil, s.opening.because(context.Cause(ctx))
	}
	err = s.err
	if errors.Is(err, errAbandoned) { // by the connections before this one
		v.release(key, s)
		return v.acquire(ctx, key, name, newClient, opts)
	}
	if err == nil {
		err = placed(s.db.place, opts.checkSame(s.opts))
	}
	if err != nil {
		v.release(key, s)
		return nil, nil, err
	}
	return s.db, func() { v.release(key, s) }, nil
}

// openShared opens a database for all connections that wait for it.
func (v *VFS) openShared(key string, s *sharedDB, name string, newClient newClientFunc, opts Options) {
	db, err := v.openNew(name, newClient, opts, s.opening)
	if v.names.opened(key, s, db, err) {
		return
	}
	// VFS.Close may have stopped waiting for this open.
	s.err = errors.Join(ErrClosed, db.closeInTime(context.Background()))
	close(s.ready)
}

func (v *VFS) openNew(name string, newClient newClientFunc, opts Options, opening *opening) (db *database, err error) {
	defer task.Guard(opts.Logger, "open", &err)
	client, owned, err := newClient()
	if err != nil {
		return nil, err
	}
	ctx, cancel := task.WithTimeout(v.openCtx, opts.OpenTimeout)
	defer cancel()
	db, err = openDatabase(ctx, name, client, opts, v.limit, opening)
	err = placed(placeOf(client, opts.replicaURL), err)
	if c, ok := client.(io.Closer); ok && owned {
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		db.client = c
	}
	return db, err
}

// newClientFunc returns the client for a database. Owned means that no other
// database uses the client, so that it is closed with the database.
type newClientFunc func() (client ReplicaClient, owned bool, err error)

// release removes a connection. After the last one the database is closed at once
// or after CloseDelay.
func (v *VFS) release(key string, s *sharedDB) {
	keep := time.Duration(0)
	if s.db != nil {
		keep = s.db.closeDelay()
	}
	v.releaseIn(key, s, keep)
}

func (v *VFS) releaseIn(key string, s *sharedDB, keep time.Duration) {
	how := v.names.leave(key, s, keep, func() {
		var err error
		defer v.guard("close", &err) // a goroutine of its own
		if v.names.expire(key, s) {
			v.closeShared(key, s)
		}
	})
	switch how {
	case leaveLast:
		v.closeShared(key, s)
	case leaveIdle:
		s.db.poller.suspend()
	}
}

// closeDelay returns how long the database stays open after its last connection.
func (db *database) closeDelay() time.Duration {
	switch {
	case db.opts.WriteEnabled || db.writer.MayBeEnabled() || db.opts.HydrationPath != "":
		return 0 // also if write mode was lost: the next open begins it again
	case db.hydrator == nil:
		return db.opts.CloseDelay
	}
	switch db.hydrator.Progress().Status {
	case hydrate.Complete, hydrate.OnDemand:
		return db.opts.CloseDelay
	}
	return 0
}

// closeShared closes a database that has no connections.
func (v *VFS) closeShared(key string, s *sharedDB) {
	var err error
	if s.db != nil {
		if err = s.db.closeLast(s.closing); err != nil {
			s.db.log.Error("close failed", "error", err)
		}
	}
	s.hurry(nil)
	v.names.forget(key, s, err)
	close(s.closed)
}

// awaitClosed waits until a database is closed after its last connection.
func (v *VFS) awaitClosed(ctx context.Context, s *sharedDB, limit time.Duration) error {
	limited, cancel := task.WithTimeout(v.openCtx, limit)
	defer cancel()
	select {
	case <-s.closed:
		return nil
	case <-limited.Done():
		return fmt.Errorf("it is being closed: %w", context.Cause(limited))
	case <-ctx.Done():
		return fmt.Errorf("it is being closed: %w", context.Cause(ctx))
	}
}

// hurryTime is the time that a close has to put commits aside and to end what is
// under way, once it waits no longer for uploads.
const hurryTime = time.Second

// awaitLast waits for the goroutine that closes the database after its last
// connection. When ctx ends, that goroutine waits for storage no more.
func (s *sharedDB) awaitLast(ctx context.Context) error {
	select {
	case <-s.closed:
		return nil // VFS.Close returns the error
	case <-ctx.Done():
	}
	s.hurry(context.Cause(ctx))
	timer := time.NewTimer(hurryTime)
	defer timer.Stop()
	select {
	case <-s.closed:
		return nil
	case <-timer.C:
		return fmt.Errorf("close %s: a close that is under way has not ended: %w", shownName(s.name), context.Cause(ctx))
	}
}

// close closes the database once it is open, or waits for the goroutine that is
// closing it. The wait for the open is part of CloseTimeout.
func (s *sharedDB) close(ctx context.Context, isClosing bool) error {
	if isClosing {
		return s.awaitLast(ctx) // the close that is under way has its own CloseTimeout
	}
	ctx, cancel := task.WithTimeout(ctx, s.opts.CloseTimeout)
	defer cancel()
	select {
	case <-s.ready:
	default:
		// If ctx ends first, the goroutine that opens the database closes it.
		select {
		case <-s.ready:
		case <-ctx.Done():
			return fmt.Errorf("close %s: an open that is under way has not ended: %w", shownName(s.name), context.Cause(ctx))
		}
	}
	if s.db == nil {
		return nil
	}
	return s.db.closeInTime(ctx)
}
