package causes

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream"
)

// Registered is a binding in Go whose databases are opened by the URI of a VFS, which
// register makes known to SQLite. Most drivers pass on only the code of an error, so
// a text is what the driver says, then the last error of litestream_status, and then
// what was logged meanwhile, as far as one says more than the one before.
func Registered(register func(t testing.TB, vfs *litestream.VFS) (name string), open func(uri string) (*sql.DB, error)) Binding {
	return Binding{
		Start: func(t testing.TB, env map[string]string) Program {
			for name, value := range env {
				t.(*testing.T).Setenv(name, value)
			}
			r := &registered{open: open, log: new(errorLog)}
			vfs := litestream.NewVFS(nil, &litestream.Options{Logger: slog.New(r.log)})
			t.Cleanup(func() { _ = vfs.Close(context.Background()) })
			r.vfs = register(t, vfs)
			return r
		},
		Bare: map[string]string{"write mode is off": NotAsked},
	}
}

// NotAsked is why a text is SQLite's alone if a file is open for reading only.
const NotAsked = "SQLite refuses the statement without a call of the VFS"

// registered are databases of a VFS.
type registered struct {
	vfs  string // name
	open func(uri string) (*sql.DB, error)
	log  *errorLog
}

// URI returns the URI of SQLite for a database of a VFS.
func URI(vfs, replica string, options map[string]string) string {
	params := []string{"vfs=" + vfs, "replica_url=" + url.QueryEscape(replica)}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		params = append(params, name+"="+url.QueryEscape(options[name]))
	}
	return "file:/litestream/app.db?" + strings.Join(params, "&")
}

func (r *registered) Open(ctx context.Context, url string, options map[string]string) (DB, error) {
	db, err := r.open(URI(r.vfs, url, options))
	if err != nil {
		return nil, err
	}
	r.log.take()
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, With(err, r.log.take())
	}
	return &told{&connection{conn, db}, r.log}, nil
}

// told is a connection whose errors have all that is told of them.
type told struct {
	*connection
	log *errorLog
}

func (c *told) Exec(ctx context.Context, statement string) error {
	c.log.take()
	before := LastError(c)
	err := c.connection.Exec(ctx, statement)
	if err == nil {
		return nil
	}
	if last := LastError(c); last != before {
		err = With(err, last)
	}
	return With(err, c.log.take())
}

// LastError returns the last error of a connection, or "".
func LastError(db DB) string {
	text, err := db.Query("PRAGMA litestream_status")
	if err != nil {
		return ""
	}
	var status struct {
		LastError struct{ Text string } `json:"last_error"`
	}
	_ = json.Unmarshal([]byte(text), &status)
	return status.LastError.Text
}

// With returns an error whose text has more, unless it says so already.
func With(err error, more string) error {
	if strings.Contains(err.Error(), more) {
		return err
	}
	return fmt.Errorf("%w: %s", err, more)
}

// errorLog keeps the last error that was logged. It is safe for concurrent use.
type errorLog struct {
	slog.Handler // nil

	mu struct {
		sync.Mutex
		last string
	}
}

func (*errorLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (l *errorLog) WithAttrs([]slog.Attr) slog.Handler             { return l }
func (l *errorLog) WithGroup(string) slog.Handler                  { return l }

func (l *errorLog) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.mu.last = a.Value.String()
		}
		return true
	})
	return nil
}

// take returns the last error and forgets it.
func (l *errorLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.mu.last
	l.mu.last = ""
	return last
}
