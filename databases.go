package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// sharedDB is a database and the number of connections that use it.
type sharedDB struct {
	opts  Options       // with defaults
	ready chan struct{} // closed when db and err are set
	db    *database
	err   error
	conns int // guarded by VFS.mu

	closing bool          // guarded by VFS.mu; the last connection was closed
	closed  chan struct{} // closed when the database is closed
}

// acquire returns the database of a key and a function that releases it. The
// first caller opens the database.
func (v *VFS) acquire(key, name string, newClient newClientFunc, opts Options) (*database, func(), error) {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return nil, nil, ErrClosed
	}
	s, known := v.databases[key]
	if known && s.closing {
		v.mu.Unlock()
		if err := v.awaitClosed(s, opts.OpenTimeout); err != nil {
			return nil, nil, fmt.Errorf("open %s: %w", name, err)
		}
		return v.acquire(key, name, newClient, opts)
	}
	if !known {
		s = &sharedDB{opts: opts, ready: make(chan struct{}), closed: make(chan struct{})}
		v.databases[key] = s
	}
	s.conns++
	v.mu.Unlock()

	if known {
		<-s.ready // the first caller's OpenTimeout limits this wait
	} else {
		v.openShared(key, s, name, newClient, opts)
	}
	err := s.err
	if err == nil {
		err = opts.checkSame(s.opts)
	}
	if err != nil {
		v.release(key, s)
		return nil, nil, err
	}
	return s.db, func() { v.release(key, s) }, nil
}

// openShared opens a database for all callers that wait for it. A database that
// failed to open is removed from the registry at once, so that the next call
// tries again.
func (v *VFS) openShared(key string, s *sharedDB, name string, newClient newClientFunc, opts Options) {
	db, err := v.openNew(name, newClient, opts)
	v.mu.Lock()
	if err != nil && v.databases[key] == s {
		delete(v.databases, key)
	}
	if !v.closed || err != nil {
		s.db, s.err = db, err
		// Hold mu, so that either Close finds the database ready or this
		// function sees that the VFS is closed.
		close(s.ready)
		v.mu.Unlock()
		return
	}
	v.mu.Unlock()
	// Close may not have waited for this database.
	s.err = errors.Join(ErrClosed, db.closeWithin(opts.CloseTimeout))
	close(s.ready)
}

func (v *VFS) openNew(name string, newClient newClientFunc, opts Options) (db *database, err error) {
	defer guard(opts.Logger, "open", &err)
	client, owned, err := newClient()
	if err != nil {
		return nil, err
	}
	ctx, cancel := v.openCtx, context.CancelFunc(func() {})
	if opts.OpenTimeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, opts.OpenTimeout)
	}
	defer cancel()
	db, err = openDatabase(ctx, name, client, opts, v.limit)
	if err == nil {
		db.journals = &v.journals
	}
	if c, ok := client.(io.Closer); ok && owned {
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		db.client = c
	}
	return db, err
}

// newClientFunc returns the client for a database. If owned is true, nothing
// else uses the client, and it is closed with the database.
type newClientFunc func() (client ReplicaClient, owned bool, err error)

// release drops one connection. It closes the database with the last
// connection.
func (v *VFS) release(key string, s *sharedDB) {
	v.mu.Lock()
	s.conns--
	last := s.conns == 0 && v.databases[key] == s
	s.closing = s.closing || last // a call of acquire waits from now on until the database is closed
	v.mu.Unlock()
	if !last {
		return
	}
	if s.db != nil {
		if err := s.db.closeWithin(s.db.opts.CloseTimeout); err != nil {
			s.db.log.Error("close failed", "error", err)
			v.mu.Lock()
			v.failed = append(v.failed, err)
			v.mu.Unlock()
		}
	}
	v.mu.Lock()
	if v.databases[key] == s {
		delete(v.databases, key)
	}
	v.mu.Unlock()
	close(s.closed)
}

// awaitClosed waits until a database is closed whose last connection was
// released.
func (v *VFS) awaitClosed(s *sharedDB, limit time.Duration) error {
	ctx, cancel := v.openCtx, context.CancelFunc(func() {})
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	select {
	case <-s.closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it is just being closed: %w", context.Cause(ctx))
	}
}

// close closes the database once it is open. If closing is true, another
// goroutine closes the database, and close waits for it.
func (s *sharedDB) close(ctx context.Context, closing bool) error {
	if closing {
		select {
		case <-s.closed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-s.ready:
	default:
		// If ctx ends first, the goroutine that opens the database closes it
		// again.
		select {
		case <-s.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.db == nil {
		return nil
	}
	return s.db.closeInTime(ctx)
}

// Sync uploads everything that was committed to a database and returns when it
// is on the replica. The name is the file name under which the database was
// opened. Sync returns an error if the database is not open. It is safe for
// concurrent use.
func (v *VFS) Sync(ctx context.Context, name string) error {
	v.options()
	name = cleanName(name)
	v.mu.Lock()
	var found []*sharedDB
	for _, s := range v.databases {
		select {
		case <-s.ready:
			if s.db != nil && s.db.name == name {
				found = append(found, s)
			}
		default: // still being opened, so it has no commits
		}
	}
	v.mu.Unlock()
	if len(found) == 0 {
		return fmt.Errorf("sync %s: it is not open", name)
	}
	var errs []error
	for _, s := range found {
		if err := s.db.sync(ctx); err != nil {
			errs = append(errs, fmt.Errorf("sync %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Close closes the VFS. It uploads the commits that are not on the replica yet,
// stops all background work and all requests in flight, and waits for them as
// long as ctx and CloseTimeout allow. It returns an error if the commits of a
// database could not be uploaded or a database could not be closed. The log
// says where commits that were not uploaded are kept. Connections that are
// still open return errors from then on. Calling Close again is allowed. It is
// safe for concurrent use.
func (v *VFS) Close(ctx context.Context) error {
	v.options()
	v.mu.Lock()
	v.closed = true
	dbs := v.databases
	v.databases = make(map[string]*sharedDB)
	errs := make(chan error, len(dbs))
	for _, s := range dbs {
		closing := s.closing
		s.closing = true
		go func() { errs <- s.close(ctx, closing) }()
	}
	v.mu.Unlock()
	v.opening(ErrClosed)
	var all []error
	for range dbs {
		all = append(all, <-errs)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	all = append(all, v.failed...)
	v.failed = nil
	return errors.Join(all...)
}
