package litestream

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
)

// VFS serves databases from replicas to SQLite, which reaches it by the name
// it is registered under:
//
//	litestream.RegisterVFS("litestream", litestream.NewVFS(client))
//
// One VFS serves many databases. They are told apart by the URI parameter
// replica_url where given, else by file name. All connections to one share
// its index, cache and poller.
//
// The fields of Options may be set until the first open; later changes have no
// effect. The zero VFS is one without a client. Close, Stats and Sync are for
// programs, the other methods for drivers of SQLite; all are safe for concurrent
// use.
type VFS struct {
	Options

	client ReplicaClient // serves the first name opened; nil if there is none
	names  names
	opens  connectorOpens
	driver driverState // state of the adapter of psanford/sqlite3vfs

	start   sync.Once               // sets the fields below, at the first use
	opts    Options                 // Options at the first use
	openCtx context.Context         // context of opens
	opening context.CancelCauseFunc // cancels openCtx
	limit   *remote.Limiter         // limits requests of all databases
}

// NewVFS returns a VFS. The client serves the database of the first file
// name that is opened; with a nil client, Options.NewClient or the URI
// parameter replica_url must give one. Of opts, the first that is not nil is used.
func NewVFS(client ReplicaClient, opts ...*Options) *VFS {
	v := &VFS{client: client}
	for _, o := range opts {
		if o != nil {
			v.Options = *o
			break
		}
	}
	return v
}

// options returns the options as they were at the first use.
func (v *VFS) options() Options {
	v.start.Do(func() {
		v.opts = v.Options
		v.openCtx, v.opening = context.WithCancelCause(context.Background())
		v.limit = remote.NewLimiter(v.opts.withDefaults().MaxConcurrentRequests)
	})
	return v.opts
}

// guard is task.Guard with the log of the VFS.
func (v *VFS) guard(op string, err *error) {
	if r := recover(); r != nil {
		*err = task.Panicked(v.options().withDefaults().Logger, op, r)
	}
}

// guardUnless is guard, except that a panic goes on if foreign is set then.
func (v *VFS) guardUnless(foreign *bool, op string, err *error) {
	if *foreign {
		return
	}
	if r := recover(); r != nil {
		*err = task.Panicked(v.options().withDefaults().Logger, op, r)
	}
}

// IsClosed reports whether the VFS was closed. It is for drivers.
func (v *VFS) IsClosed() bool { return v.names.isClosed() }

// cleanName returns the same name for different spellings of a path. The URL of a
// replica stays as it is.
func cleanName(name string) string {
	if name == "" || strings.Contains(name, "://") {
		return name
	}
	return path.Clean(name)
}

// Sync uploads all commits of a database and returns when they are on the
// replica. The name is the file name under which the database was opened, or the
// URL of its replica. Sync returns an error if the database is not open. It is safe
// for concurrent use.
func (v *VFS) Sync(ctx context.Context, name string) error {
	v.options()
	name = cleanName(name)
	var errs []error
	found := false
	for _, db := range v.names.open() { // a database that is being opened has no commits
		if !db.isNamed(name) {
			continue
		}
		found = true
		if err := db.sync(ctx); err != nil {
			errs = append(errs, fmt.Errorf("sync %s: %w", shownName(name), err))
		}
	}
	if !found {
		return fmt.Errorf("sync %s: it is not open", shownName(name))
	}
	return errors.Join(errs...)
}

// Close closes the VFS. It uploads the commits that are not on the replica yet,
// stops all background work and all requests in flight, and waits for them as
// long as ctx and CloseTimeout allow. When ctx ends, a close of the last connection
// that is under way in another goroutine gives up, too. It returns an error if the
// commits of a database could not be uploaded or a database could not be closed, now
// or when its last connection was closed before, also if a later open has uploaded
// the commits since. The error says where commits that were not uploaded are kept.
// Connections that are still open return errors from then on. Calling Close again is
// allowed. It is safe for concurrent use.
func (v *VFS) Close(ctx context.Context) error {
	v.options()
	n := 0
	errs := make(chan error)
	v.names.closeAll(func(s *sharedDB, isClosing bool) {
		n++
		go func() { errs <- s.close(ctx, isClosing) }()
	})
	v.opening(ErrClosed)
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	return errors.Join(append(all, v.names.takeFailed()...)...)
}
