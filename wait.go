package litestream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
)

// awaitTXID waits until transaction txid of the replica is visible to new
// transactions of this process, or ctx ends. It polls at once and then at every
// poll interval, also if polling is disabled, so that it sees the transaction as
// soon as a running poller would.
func (db *database) awaitTXID(ctx context.Context, txid ltx.TXID) error {
	interval := db.opts.PollInterval
	if interval < 0 {
		interval = DefaultPollInterval
	}
	var problem error // of the last poll that has ended
	for {
		if db.Current.Load().TXID >= txid {
			return nil
		}
		_, err := db.share(ctx, "poll", func(context.Context) (any, error) { return nil, db.poller.look(false) })
		goesOn := ctx.Err() != nil && errors.Is(err, ctx.Err()) // the poll goes on without this wait
		if !goesOn {
			problem = err
		}
		newest := db.Current.Load().TXID
		if newest >= txid && (goesOn || err == nil) {
			return nil
		}
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			err := fmt.Errorf("wait for transaction %s: the newest is %s: %w", txid, newest, errs.ErrTxNotAvailable)
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) && problem == nil {
				return err
			}
			return errors.Join(err, context.Cause(ctx), problem)
		}
	}
}

// wait is PRAGMA litestream_wait. The value is a transaction, and then a limit
// in seconds or as a duration, which is ReadTimeout if it is missing.
func (c *Conn) wait(s string) error {
	text, limitText, limited := strings.Cut(strings.TrimSpace(s), " ")
	txid, err := parseTXID(text)
	if err != nil {
		return err
	}
	limit := c.db.opts.ReadTimeout
	if limited {
		if limit, err = parseLimit(limitText); err != nil {
			return err
		}
	}
	if c.state != connIdle {
		return ErrInTransaction
	}
	ctx, cancel := c.waiting(limit)
	defer cancel()
	return c.db.awaitTXID(ctx, txid)
}

// parseLimit reads the limit of a wait.
func parseLimit(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%w: limit %q, want a number of seconds or a duration like 500ms", errInvalidValue, s)
	}
	return d, nil
}

// parseTXID reads a transaction id.
func parseTXID(s string) (ltx.TXID, error) {
	txid, err := ltx.ParseTXID(strings.ToLower(s))
	if err != nil || txid == 0 {
		return 0, fmt.Errorf("%w: %q is no transaction id of 16 hex digits", errInvalidValue, s)
	}
	return txid, nil
}
