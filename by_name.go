package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// with calls use with the database of a name, which is a file name or the URL of a
// replica. If it is not open, it is opened with the options of the VFS, and closed
// afterwards unless a connection has joined it.
func (v *VFS) with(ctx context.Context, name string, use func(*database) error) (err error) {
	defer v.guard("open", &err)
	return v.unguarded(ctx, name, use)
}

// sequence returns what produce emits for the database of a name, as with opens it. An
// error ends the sequence.
func sequence[T any](ctx context.Context, v *VFS, name string, produce func(db *database, emit func(T) error) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		inBody, stopped := false, false
		emit := func(e T) error {
			inBody = true
			stopped = !yield(e, nil)
			inBody = false
			if stopped {
				return errStopped
			}
			return nil
		}
		err := func() (err error) {
			defer v.guardUnless(&inBody, "open", &err) // the runtime demands that panics of the body go on
			return v.unguarded(ctx, name, func(db *database) error { return produce(db, emit) })
		}()
		if err != nil && !stopped {
			var none T
			yield(none, err)
		}
	}
}

// errStopped ends a sequence because its caller wants no more of it.
var errStopped = errors.New("no more is wanted")

// unguarded is with, except that panics of use go on to the caller.
func (v *VFS) unguarded(ctx context.Context, name string, use func(*database) error) (err error) {
	v.options()
	params := map[string]string{}
	if strings.Contains(name, "://") {
		params[replicaURL] = name
	}
	name = cleanName(name)
	for _, db := range v.named(name) {
		if key, s := v.names.joinOpen(db); s != nil {
			defer v.releaseAsBefore(key, s)
			return use(db)
		}
	}
	c, err := v.openConn(ctx, name, params, OpenMode{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }() // also after a panic
	return use(c.db)
}

// named returns the open databases that a name means, the one that was opened first
// before the others. An ID means one database only, even if it is also the place of
// others.
func (v *VFS) named(name string) []*database {
	if db := v.names.withID(name); db != nil {
		return []*database{db}
	}
	named := slices.DeleteFunc(v.names.open(), func(db *database) bool { return !db.isNamed(name) })
	slices.SortFunc(named, byOpening)
	return named
}

// releaseAsBefore is release for a connection of joinOpen.
func (v *VFS) releaseAsBefore(key string, s *sharedDB) {
	if left, idle := v.names.untilClose(s); idle {
		v.releaseIn(key, s, max(left, time.Nanosecond))
		return
	}
	v.release(key, s)
}

// isNamed reports whether name is a file name of the database, the URL of its
// replica, Stats.ID or Stats.Place.
func (db *database) isNamed(name string) bool {
	if name == db.name || name != "" && (name == db.opts.replicaURL || name == cleanName(db.id) || name == db.place) {
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

// File is an LTX file of a replica.
type File struct {
	Level   int      `json:"level"` // 9: a snapshot
	MinTXID ltx.TXID `json:"min_txid"`
	MaxTXID ltx.TXID `json:"max_txid"`
	Size    int64    `json:"size"` // in bytes

	// Time is when the file was made. It is as accurate as that of a listing: many
	// stores tell when the file was uploaded.
	Time time.Time `json:"time"`

	// Reachable tells whether connections can travel to the state after MaxTXID.
	Reachable bool `json:"reachable"`
}

// Files lists the LTX files of the replica of a database, by level and then by
// transaction. That takes one request, or one for each level. The name is the file
// name under which the database was opened, or the URL of its replica. If it is not
// open, Files opens it. It is safe for concurrent use.
func (v *VFS) Files(ctx context.Context, name string) (files []File, err error) {
	err = v.with(ctx, name, func(db *database) error {
		if files, err = db.files(ctx); err != nil {
			return fmt.Errorf("files of %s: %w", db.place, err)
		}
		return nil
	})
	return files, err
}

// files returns the files of the replica as a listing returns them.
func (s *past) files(ctx context.Context) ([]File, error) {
	listed, err := s.store.ListAll(ctx, false)
	if err != nil {
		return nil, err
	}
	reachable := make(map[ltx.TXID]bool)
	for _, p := range view.Points(listed) {
		reachable[p.TXID] = p.Reachable
	}
	files := make([]File, 0, len(listed))
	for _, f := range listed {
		files = append(files, File{
			Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID, Size: f.Size, Time: f.CreatedAt.UTC(), Reachable: reachable[f.MaxTXID],
		})
	}
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.MaxTXID, b.MaxTXID))
	})
	return files, nil
}

// KeepFresh makes an open database follow its replica as if a transaction had just
// run: if it sleeps, it polls now, and goes on for PollIdleAfter. It does not wait
// for the poll. The name is the file name under which the database was opened, or
// the URL of its replica. KeepFresh returns an error if the database is not open. It
// is safe for concurrent use.
func (v *VFS) KeepFresh(name string) error {
	v.options()
	name = cleanName(name)
	found := false
	for _, db := range v.names.open() {
		if db.isNamed(name) {
			found = true
			db.poller.useElsewhere()
		}
	}
	if !found {
		return fmt.Errorf("keep %s fresh: it is not open", shownName(name))
	}
	return nil
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
