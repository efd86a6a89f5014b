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

	"github.com/ltxvfs/litestream/internal/timeexpr"
	"github.com/psanford/sqlite3vfs"
	"github.com/superfly/ltx"
)

// errInvalidValue means a malformed value of a PRAGMA.
var errInvalidValue = errors.New("invalid value")

// latest is the time that follows the primary.
const latest = "latest"

// pragma is one of the PRAGMAs of a connection.
type pragma struct {
	get func(*conn) (string, error)
	set func(*conn, string) error // nil: read-only
}

var pragmas = map[string]pragma{
	"litestream_txid":    {get: func(c *conn) (string, error) { return c.view().txid.String(), nil }, set: (*conn).setTXID},
	"litestream_time":    {get: func(c *conn) (string, error) { return formatTime(c.view().time()), nil }, set: (*conn).setTime},
	"litestream_lag":     {get: func(c *conn) (string, error) { return strconv.FormatInt(c.db.lagSeconds(), 10), nil }},
	"litestream_status":  {get: (*conn).status},
	"litestream_history": {get: (*conn).history},

	"litestream_write_enabled": {get: (*conn).writeEnabled, set: (*conn).setWriteEnabled},
	"litestream_sync":          {get: (*conn).syncNow},

	"litestream_hydration_progress": {get: func(c *conn) (string, error) { return formatPercent(c.db.hydrator.progress()), nil }},
	"litestream_hydration_status":   {get: func(c *conn) (string, error) { return string(c.db.hydrator.progress().Status), nil }},
	"litestream_hydration_file":     {get: func(c *conn) (string, error) { return c.db.hydrator.progress().File, nil }},
}

// formatTime gives a time as RFC 3339, to the millisecond that LTX has.
func formatTime(t time.Time) string { return ltx.FormatTimestamp(t) }

// formatPercent gives a progress to one decimal, and 100 only at the end.
func formatPercent(p HydrationProgress) string {
	return strconv.FormatFloat(math.Floor(p.Progress*10)/10, 'f', 1, 64)
}

// FileControl serves PRAGMAs. SQLite handles those that are not ours.
func (c *conn) FileControl(_ int, name string, value *string) (*string, error) {
	result, err := c.Pragma(name, value)
	if e, ok := err.(pragmaError); ok {
		err = e.code
	}
	return result, err
}

// Pragma is FileControl with an error that has a text; the code of it is in its tree.
func (c *conn) Pragma(name string, value *string) (result *string, err error) {
	defer guard(c.log, "pragma", &err)
	name = strings.ToLower(name)
	p, ok := pragmas[name]
	if !ok {
		return nil, c.watchPragma(name, value)
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
		return nil, pragmaError{code: c.fail("pragma "+name, err), err: err}
	}
	return result, nil
}

// pragmaError is the error of a PRAGMA, and its code for SQLite.
type pragmaError struct{ code, err error }

func (e pragmaError) Error() string   { return e.err.Error() }
func (e pragmaError) Unwrap() []error { return []error{e.code, e.err} }

// watchPragma looks at a PRAGMA that is SQLite's. With locking_mode=EXCLUSIVE SQLite
// would go to WAL mode without shared memory, and look for a log that cannot be. The
// file hears of that mode only if the PRAGMA names its database, or none and it is the
// main one. A lock that is held tells, too: outside of a transaction, for which SQLite has an
// error itself, it means that mode. What neither tells, WriteAt refuses.
func (c *conn) watchPragma(name string, value *string) error {
	switch {
	case value == nil:
	case name == "locking_mode":
		c.exclusive = strings.EqualFold(*value, "exclusive")
	case name == "journal_mode" && strings.EqualFold(*value, "wal") && (c.exclusive || c.level != sqlite3vfs.LockNone):
		return pragmaError{code: c.fail("pragma journal_mode", errNoWAL), err: errNoWAL}
	}
	return sqlite3vfs.NotFoundError
}

// errNoWAL means an attempt to go to WAL mode.
var errNoWAL = fmt.Errorf("%w: there is no WAL mode", errInvalidValue)

// writeEnabled returns 1 if the database can be written to, else 0.
func (c *conn) writeEnabled() (string, error) {
	if c.db.writer.isEnabled() {
		return "1", nil
	}
	return "0", nil
}

func (c *conn) setTXID(s string) error {
	s = strings.ToLower(strings.TrimSpace(s))
	if s == latest {
		return c.travelBy(nil)
	}
	txid, err := ltx.ParseTXID(s)
	if err != nil || txid == 0 {
		return fmt.Errorf("%w: %q is no transaction id of 16 hex digits", errInvalidValue, s)
	}
	return c.travelBy(func(ctx context.Context) (*view, error) { return c.db.travelTo(ctx, txid) })
}

func (c *conn) setTime(s string) error {
	if strings.EqualFold(strings.TrimSpace(s), latest) {
		return c.travelBy(nil)
	}
	t, err := timeexpr.Parse(s, time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", errInvalidValue, err)
	}
	return c.travelBy(func(ctx context.Context) (*view, error) { return c.db.travelToTime(ctx, t) })
}

// travelBy lets the next transactions see the view that find returns; nil
// for the newest. After an error the connection sees what it saw before.
func (c *conn) travelBy(find func(context.Context) (*view, error)) error {
	if c.level != sqlite3vfs.LockNone || c.unlocked {
		return ErrInTransaction
	}
	if find == nil {
		c.travelTo(nil)
		return nil
	}
	ctx, cancel := c.db.tasks.WithTimeout(c.db.opts.ReadTimeout)
	defer cancel()
	v, err := find(ctx)
	if err != nil {
		return err
	}
	c.travelTo(v)
	return nil
}

func (c *conn) status() (string, error) {
	v := c.view()
	b, err := json.Marshal(struct {
		Stats
		View      viewStatus `json:"view"`
		LastError *connError `json:"last_error"`
	}{
		Stats:     c.db.stats(),
		View:      viewStatus{TXID: v.txid, Time: v.time(), Pages: v.commit, Travelling: c.travel != nil},
		LastError: c.lastError(),
	})
	return string(b), err
}

// lastError returns the connection's last error, or why polls fail if they do
// so since then. Nil: there is none.
func (c *conn) lastError() *connError {
	own, poll := c.lastErr.Load(), c.db.poller.problem.Load()
	if poll != nil && (own == nil || own.Time.Before(poll.Time)) {
		return poll
	}
	return own
}

// viewStatus is what litestream_status says of the connection's own view.
type viewStatus struct {
	TXID       ltx.TXID  `json:"txid"`
	Time       time.Time `json:"time"`
	Pages      uint32    `json:"pages"`
	Travelling bool      `json:"travelling"`
}

func (c *conn) history() (string, error) {
	ctx, cancel := c.db.tasks.WithTimeout(c.db.opts.ReadTimeout)
	defer cancel()
	points, err := c.db.history(ctx)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(points)
	return string(b), err
}
