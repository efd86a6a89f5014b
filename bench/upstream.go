//go:build vfs

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	upstreamlib "github.com/benbjohnson/litestream"
	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/superfly/ltx"
)

// systems returns our VFS, upstream's VFS and plain SQLite.
func systems(bind binding) ([]*system, error) {
	return []*system{oursSystem(bind), upstreamSystem(), plainSystem()}, nil
}

func upstreamSystem() *system {
	return &system{name: upstream, write: writeUpstream, restore: restoreUpstream, open: func(d *dataset, o openOptions) (*session, error) {
		s := &session{trace: decorated(d, o.latency), end: func() error { return nil }}
		if o.record {
			s.rec = newRecorder(d.pageSize)
		}
		v := upstreamlib.NewVFS(upstreamClient{s.trace}, quiet)
		v.PollInterval = 24 * time.Hour // polling cannot be disabled
		if o.cacheSize != 0 {
			v.CacheSize = int(max(o.cacheSize, 1)) // at least one page
		}
		if v.HydrationEnabled = o.hydrate; o.hydrate {
			s.hydration = func(ctx context.Context, s *session) (progress float64, done bool, err error) {
				err = s.db.QueryRowContext(ctx, "PRAGMA litestream_hydration_progress").Scan(&progress)
				return progress, progress >= 100, err
			}
		}
		upstreamSlot.set(v, s.rec)
		var err error
		if s.db, err = openDB("file:bench.db?mode=ro&vfs="+upstreamSlot.name, o.conns); err != nil {
			return nil, fmt.Errorf("open with upstream's: %w", err)
		}
		return s, nil
	}}
}

// writeUpstream opens a database in upstream's write mode.
func writeUpstream(o writeOptions) (*session, error) {
	s := &session{trace: decorate.NewTrace(o.client), end: func() error { return nil }}
	v := upstreamlib.NewVFS(upstreamClient{s.trace}, quiet)
	v.PollInterval = 24 * time.Hour // polling cannot be disabled
	v.WriteEnabled, v.WriteSyncInterval, v.WriteBufferPath = true, o.interval, filepath.Join(o.dir, "buffer")
	last := ltx.TXID(0).String()
	s.sync = func(ctx context.Context) error { return s.awaitNext(ctx, &last) }
	upstreamSlot.set(v, nil)
	var err error
	if s.db, err = openDB(o.dsn(writtenDB+"?vfs="+upstreamSlot.name), o.conns); err != nil {
		return nil, fmt.Errorf("open with upstream's: %w", err)
	}
	return s, nil
}

// restoreUpstream restores as the command litestream restore does.
func restoreUpstream(ctx context.Context, client *decorate.Trace, path string) error {
	opts := upstreamlib.NewRestoreOptions()
	opts.OutputPath = path
	return upstreamlib.NewReplicaWithClient(nil, upstreamClient{client}).Restore(ctx, opts)
}

// awaitNext waits for a transaction after *last and stores it in *last.
func (s *session) awaitNext(ctx context.Context, last *string) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Microsecond) {
		var txid string
		err := s.db.QueryRowContext(ctx, "PRAGMA litestream_txid").Scan(&txid)
		switch {
		case err != nil:
			return err
		case txid > *last:
			*last = txid
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the transaction after %s does not come", txid)
		}
	}
}

// upstreamClient adapts one of our clients to upstream's interface.
type upstreamClient struct{ litestream.ReplicaClient }

var _ upstreamlib.ReplicaClient = upstreamClient{}

func (upstreamClient) Type() string                    { return "bench" }
func (upstreamClient) Init(context.Context) error      { return nil }
func (upstreamClient) DeleteAll(context.Context) error { return errors.ErrUnsupported }
func (upstreamClient) SetLogger(*slog.Logger)          {}
