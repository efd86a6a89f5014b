package litestream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/outcome"
)

// with calls use with the database of a name, which is a file name or the URL of a
// replica. If it is not open, it is opened with the options of the VFS, and closed
// afterwards unless a connection has joined it.
func (v *VFS) with(ctx context.Context, name string, use func(*database) error) (err error) {
	defer v.guard("open", &err)
	v.options()
	params := map[string]string{}
	if strings.Contains(name, "://") {
		params[replicaURL] = name
	}
	name = cleanName(name)
	for _, db := range v.names.open() {
		if !db.isNamed(name) {
			continue
		}
		if key, s := v.names.joinOpen(db); s != nil {
			defer v.releaseAsBefore(key, s)
			return use(db)
		}
	}
	c, err := v.openConn(ctx, name, params, OpenMode{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(use(c.db), c.Close())
}

// releaseAsBefore is release for a connection of joinOpen.
func (v *VFS) releaseAsBefore(key string, s *sharedDB) {
	if left, idle := v.names.untilClose(s); idle {
		v.releaseIn(key, s, max(left, time.Nanosecond))
		return
	}
	v.release(key, s)
}

// isNamed reports whether name is a file name of the database, or the URL of its
// replica.
func (db *database) isNamed(name string) bool {
	if name == db.name || name != "" && name == db.opts.replicaURL {
		return true
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	for c := range db.conns {
		if c.name == name {
			return true
		}
	}
	return false
}

// Wait waits until this process sees transaction txid of a database, so that
// transactions that begin afterwards read it or a later one. A program that has
// written elsewhere gives the transaction that litestream_sync returned there. The
// name is the file name under which the database was opened, or the URL of its
// replica. If it is not open, Wait opens it. If ctx ends first, the error is
// ErrTxNotAvailable. Wait is safe for concurrent use.
func (v *VFS) Wait(ctx context.Context, name string, txid ltx.TXID) error {
	return v.with(ctx, name, func(db *database) error {
		if err := db.awaitTXID(ctx, txid); err != nil {
			return placed(db.place, err)
		}
		return nil
	})
}

// History returns the points in time that connections of a database can travel to,
// in ascending order. The name is the file name under which the database was
// opened, or the URL of its replica. If it is not open, History opens it. It is
// safe for concurrent use.
func (v *VFS) History(ctx context.Context, name string) (points []HistoryPoint, err error) {
	err = v.with(ctx, name, func(db *database) error {
		if points, err = db.history(ctx); err != nil {
			return fmt.Errorf("history of %s: %w", db.place, err)
		}
		return nil
	})
	return points, err
}

// StatsOf returns the counters of one database, as Stats does for all that are
// open. The name is the file name under which the database was opened, or the URL
// of its replica. If it is not open, StatsOf opens it. It is safe for concurrent
// use.
func (v *VFS) StatsOf(ctx context.Context, name string) (stats Stats, err error) {
	err = v.with(ctx, name, func(db *database) error {
		stats = db.stats()
		return nil
	})
	return stats, err
}

// Health returns nil if a database works, and otherwise everything that is wrong
// with it: it cannot be opened, the last poll, the last read of a page or the last
// upload of commits failed, write mode was lost to another writer, or hydration has
// failed. The text says since when, and when it last worked. A database that sleeps
// because nothing uses it works: failed polls and reads count while it is in use. The name is the file name under which the database
// was opened, or the URL of its replica. If it is not open, Health opens it. It
// makes no request otherwise, so it is cheap enough for a probe every second. It is
// safe for concurrent use.
func (v *VFS) Health(ctx context.Context, name string) error {
	return v.with(ctx, name, func(db *database) error {
		if err := db.health(); err != nil {
			return placed(db.place, err)
		}
		return nil
	})
}

// failing returns the error of an operation whose last attempt failed.
func failing(operation string, l outcome.Last) error {
	before := "never worked before"
	if !l.Success.IsZero() {
		before = "last worked at " + formatTime(l.Success)
	}
	return fmt.Errorf("%s fail since %s and %s: %w", operation, formatTime(l.Since), before, l.Err)
}

func (db *database) health() error {
	var problems []error
	if polls := db.poller.polls.Last(); polls.IsFailing() && pollState(db.poller.state.Load()) == pollRunning {
		problems = append(problems, failing("polls", polls))
	}
	if reads := db.reads.Last(); reads.IsFailing() && !db.poller.isIdle() {
		problems = append(problems, failing("reads", reads))
	}
	switch s := db.writer.Status(); {
	case s.Problem == nil:
	case s.Syncs.IsFailing() && errors.Is(s.Problem, s.Syncs.Err):
		problems = append(problems, failing("write mode: syncs", s.Syncs))
	default:
		problems = append(problems, fmt.Errorf("write mode: %w", s.Problem))
	}
	if p := db.hydrator.Progress(); p.Status == hydrate.Failed {
		problems = append(problems, fmt.Errorf("hydration: %s", p.Error))
	}
	return errors.Join(problems...)
}
