//go:build vfs

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	upstreamlib "github.com/benbjohnson/litestream"
	"github.com/ltxvfs/litestream"
)

// systems returns ours, upstream's and plain SQLite.
func systems() ([]*system, error) {
	return []*system{oursSystem(), upstreamSystem(), plainSystem()}, nil
}

func upstreamSystem() *system {
	return &system{upstream, func(d *dataset, o openOptions) (*session, error) {
		s := &session{trace: decorated(d, o.latency), end: func() error { return nil }}
		if o.record {
			s.rec = newRecorder(d.pageSize)
		}
		v := upstreamlib.NewVFS(upstreamClient{s.trace}, slog.New(slog.DiscardHandler))
		v.PollInterval = 24 * time.Hour // it can't be switched off
		if o.cacheSize != 0 {
			v.CacheSize = int(max(o.cacheSize, 1)) // one page, at least
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

// upstreamClient makes a client of ours one of upstream's.
type upstreamClient struct{ litestream.ReplicaClient }

var _ upstreamlib.ReplicaClient = upstreamClient{}

func (upstreamClient) Type() string                    { return "bench" }
func (upstreamClient) Init(context.Context) error      { return nil }
func (upstreamClient) DeleteAll(context.Context) error { return errors.ErrUnsupported }
func (upstreamClient) SetLogger(*slog.Logger)          {}
