package litestream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/timeexpr"
	"github.com/ltxvfs/litestream/internal/view"
)

// errInvalidValue means a malformed value of a PRAGMA.
var errInvalidValue = errors.New("invalid value")

// latest is the value of a time or transaction that means the newest state.
const latest = "latest"

// pragma is one of the PRAGMAs of a connection.
type pragma struct {
	get func(*Conn) (string, error)
	set func(*Conn, string) error // nil for one that is read-only
}

var pragmas = map[string]pragma{
	"litestream_txid":    {get: func(c *Conn) (string, error) { return c.view().TXID.String(), nil }, set: (*Conn).setTXID},
	"litestream_time":    {get: func(c *Conn) (string, error) { return formatTime(c.view().Time()), nil }, set: (*Conn).setTime},
	"litestream_lag":     {get: func(c *Conn) (string, error) { return strconv.FormatInt(c.db.lagSeconds(), 10), nil }},
	"litestream_status":  {get: (*Conn).status},
	"litestream_history": {get: (*Conn).history},
	"litestream_wait":    {get: func(c *Conn) (string, error) { return c.db.Current.Load().TXID.String(), nil }, set: (*Conn).wait},

	"litestream_write_enabled": {get: (*Conn).writeEnabled, set: (*Conn).setWriteEnabled},
	"litestream_sync":          {get: (*Conn).syncNow},

	"litestream_hydration_progress": {get: func(c *Conn) (string, error) { return formatPercent(c.db.hydrator.Progress()), nil }},
	"litestream_hydration_status":   {get: func(c *Conn) (string, error) { return string(c.db.hydrator.Progress().Status), nil }},
	"litestream_hydration_file":     {get: func(c *Conn) (string, error) { return c.db.hydrator.Progress().File, nil }},
}

// formatTime formats a time as RFC 3339, to the millisecond.
func formatTime(t time.Time) string { return ltx.FormatTimestamp(t) }

// formatPercent formats a progress with one decimal. It is 100.0 only at the end.
func formatPercent(p hydrate.Progress) string {
	return strconv.FormatFloat(math.Floor(p.Progress*10)/10, 'f', 1, 64)
}

// errUnknownPragma means that a PRAGMA is none of ours.
var errUnknownPragma = errors.New("unknown PRAGMA")

// Pragma runs a PRAGMA of the connection. A nil value asks for the current one;
// with a value the result is nil. An error with CodeNotFound means that SQLite is
// to handle the PRAGMA itself.
func (c *Conn) Pragma(name string, value *string) (result *string, err error) {
	defer task.Guard(c.log, "pragma", &err)
	name = strings.ToLower(name)
	p, ok := pragmas[name]
	if !ok {
		if err := c.wal.watch(name, value, c.state != connIdle); err != nil {
			return nil, c.fail("pragma "+name, err)
		}
		return nil, errUnknownPragma
	}
	switch {
	case value != nil && p.set == nil:
		err = fmt.Errorf("%w: it cannot be set", errInvalidValue)
	case value != nil:
		err = p.set(c, *value)
	default:
		var s string
		s, err = p.get(c)
		result = &s
	}
	if err != nil {
		return nil, c.fail("pragma "+name, err)
	}
	return result, nil
}

// writeEnabled returns 1 if the database can be written to, else 0.
func (c *Conn) writeEnabled() (string, error) {
	if c.db.writer.IsEnabled() {
		return "1", nil
	}
	return "0", nil
}

func (c *Conn) setTXID(s string) error {
	s = strings.TrimSpace(s)
	if strings.EqualFold(s, latest) {
		return c.travelBy(nil)
	}
	txid, err := parseTXID(s)
	if err != nil {
		return err
	}
	return c.travelBy(func(ctx context.Context) (*view.View, error) { return c.db.travelTo(ctx, txid) })
}

func (c *Conn) setTime(s string) error {
	if strings.EqualFold(strings.TrimSpace(s), latest) {
		return c.travelBy(nil)
	}
	t, err := timeexpr.Parse(s, c.db.opts.clock())
	if err != nil {
		return fmt.Errorf("%w: %w", errInvalidValue, err)
	}
	return c.travelBy(func(ctx context.Context) (*view.View, error) { return c.db.travelToTime(ctx, t) })
}

// travelBy makes the next transactions see the view that find returns. A nil find
// means the newest view. After an error the connection sees the same view as
// before.
func (c *Conn) travelBy(find func(context.Context) (*view.View, error)) error {
	if c.state != connIdle || c.access == accessFixed {
		return ErrInTransaction
	}
	if find == nil {
		c.travelTo(nil)
		return nil
	}
	ctx, cancel := c.waiting(c.db.opts.ReadTimeout)
	defer cancel()
	v, err := find(ctx)
	if err != nil {
		return causeOf(ctx, err)
	}
	c.travelTo(v)
	return nil
}

func (c *Conn) status() (string, error) {
	v := c.view()
	b, err := json.Marshal(struct {
		Stats
		View      viewStatus `json:"view"`
		LastError *connError `json:"last_error"`
	}{
		Stats:     c.db.stats(),
		View:      viewStatus{TXID: v.TXID, Time: v.Time(), Pages: v.Commit, Travelling: c.past.Load() != nil},
		LastError: c.lastError(),
	})
	return string(b), err
}

// lastError returns the connection's last error, or why polls fail if they have
// failed since. It returns nil if there is no error.
func (c *Conn) lastError() *connError {
	own, polls := c.lastErr.Load(), c.db.poller.polls.Last()
	if polls.IsFailing() && (own == nil || own.Time.Before(polls.Since)) {
		return &connError{Time: polls.Since, Op: "poll", Text: polls.Err.Error(), err: polls.Err}
	}
	return own
}

// viewStatus is the part of litestream_status about the connection's own view.
type viewStatus struct {
	TXID       ltx.TXID  `json:"txid"`
	Time       time.Time `json:"time"`
	Pages      uint32    `json:"pages"`
	Travelling bool      `json:"travelling"`
}

func (c *Conn) history() (string, error) {
	ctx, cancel := c.waiting(c.db.opts.ReadTimeout)
	defer cancel()
	points, err := c.db.history(ctx)
	if err != nil {
		return "", causeOf(ctx, err)
	}
	b, err := json.Marshal(points)
	return string(b), err
}
