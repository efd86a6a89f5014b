package maintain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/survey"
	"github.com/ltxvfs/litestream/internal/timeexpr"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// Moment names a state of a database. The zero value is the newest state.
type Moment struct {
	// TXID is the last transaction of the state.
	TXID ltx.TXID

	// Time, if TXID is 0, is the time of the state: its last transaction is the
	// newest one of that time or before.
	Time time.Time
}

// ParseMoment parses a transaction of 16 hex digits, or a time as PRAGMA
// litestream_time accepts it, such as 2026-01-02T15:04:05Z and "5 minutes ago".
// An empty text and "latest" are the newest state.
func ParseMoment(text string, now time.Time) (Moment, error) {
	text = strings.TrimSpace(text)
	if text == "" || strings.EqualFold(text, "latest") {
		return Moment{}, nil
	}
	if txid, err := ltx.ParseTXID(text); err == nil {
		if txid == 0 {
			return Moment{}, fmt.Errorf("parse moment %q: transactions begin with %s", text, ltx.TXID(1))
		}
		return Moment{TXID: txid}, nil
	}
	t, err := timeexpr.Parse(text, now)
	if err != nil {
		return Moment{}, fmt.Errorf("parse moment %q: neither a transaction of 16 hex digits nor a time: %w", text, err)
	}
	return Moment{Time: t}, nil
}

// String formats the moment for texts.
func (m Moment) String() string {
	switch {
	case m.TXID != 0:
		return "transaction " + m.TXID.String()
	case !m.Time.IsZero():
		return m.Time.UTC().Format(time.RFC3339Nano)
	}
	return "the newest state"
}

// plan returns the files that give a state, in the order in which they are
// applied, and the transaction of the state. A file that is a whole database
// comes first, if there are others.
func (s *session) plan(ctx context.Context, files []*ltx.FileInfo, at Moment) (plan []*ltx.FileInfo, err error) {
	switch {
	case at.TXID != 0:
		if plan, err = view.PlanTXID(0, at.TXID, files); errors.Is(err, errs.ErrTxNotAvailable) {
			err = view.NotAvailable(at.TXID, files)
		}
	case at.Time.IsZero():
		plan, err = view.PlanLatest(0, files)
	default:
		var p view.Point
		if p, _, err = view.FindByTime(ctx, view.Points(files), at.Time.UnixMilli(), s.timestamp); err == nil {
			plan, err = view.PlanTXID(0, p.TXID, files)
		}
	}
	return plan, err
}

// nothing returns the error for a replica without LTX files. It says what lies at
// its place instead, if the client can tell.
func (s *session) nothing(ctx context.Context) error {
	_, place, err := s.look(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported) || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return errs.ErrNoDatabase
	case err != nil:
		return fmt.Errorf("%w: %w", errs.ErrNoDatabase, err)
	}
	return fmt.Errorf("%w: %s", errs.ErrNoDatabase, place)
}

// look finds out what lies at the place of a replica without LTX files.
func (s *session) look(ctx context.Context) (survey.Kind, string, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	at, err := s.store.Survey(ctx, "")
	if err != nil {
		return survey.Nothing, "", err
	}
	place := survey.Place{Survey: at, Folders: make(map[string][]string)}
	for _, dir := range survey.Folders(at) {
		below, err := s.store.Survey(ctx, dir)
		if err != nil {
			return survey.Nothing, "", err
		}
		place.Folders[dir] = below.Names
	}
	where := "the place of the replica"
	if c, ok := s.store.Client.(replica.Identifier); ok && c.ReplicaIdentity() != "" {
		where = c.ReplicaIdentity()
	}
	kind, text := survey.Describe(where, false, place)
	return kind, text, nil
}
