package extension

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

// Log is the destination of an extension's log: standard error or a file. The
// environment sets the file and the level. The zero value logs to standard
// error. A Log is safe for concurrent use.
type Log struct {
	level slog.LevelVar

	mu   sync.Mutex
	path string   // guarded by mu; path of file
	file *os.File // guarded by mu; nil: standard error
}

// Configure sets the level and the file of the log from the environment. An error
// names the variable, and then nothing is changed.
func (l *Log) Configure(environment Environment) error {
	level := slog.LevelInfo
	if s := environment[LogLevel]; s != "" {
		if err := level.UnmarshalText([]byte(s)); err != nil {
			return fmt.Errorf("%s: invalid level %q, want debug, info, warn or error", LogLevel, s)
		}
	}
	path := environment[LogFile]
	l.mu.Lock()
	same := path == l.path
	l.mu.Unlock()
	if !same {
		var file *os.File
		if path != "" {
			var err error
			if file, err = openLog(path); err != nil {
				return fmt.Errorf("%s: %w", LogFile, err)
			}
		}
		l.mu.Lock()
		file, l.file, l.path = l.file, file, path
		l.mu.Unlock()
		if file != nil {
			_ = file.Close()
		}
	}
	l.level.Set(level)
	return nil
}

// logBegin is the text with which every line of a log begins.
const logBegin = slog.TimeKey + "="

// openLog opens a file for appending, or creates it for this user only. An
// existing file must be empty, a log, or a device that accepts everything.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil {
		if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
			return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		}
	}
	f, err := ownfile.Create(path)
	if err == nil {
		err = f.Close() // other processes append to it, too
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return ownfile.Open(path, os.O_RDWR|os.O_APPEND, ownfile.BeginsWith(logBegin))
}

// Logger returns a logger that writes text to the present destination of the
// log.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: &l.level}))
}

// Write writes a line. It ignores errors, since a log that cannot be written to
// should stop nothing.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_, _ = l.file.Write(p)
		return len(p), nil
	}
	// This does not use os.Stderr: if no process reads standard error,
	// os.Stderr ends this process with SIGPIPE, even if the host ignores that
	// signal.
	for rest := p; len(rest) > 0; {
		n, err := syscall.Write(2, rest)
		if err != nil && err != syscall.EINTR {
			break
		}
		rest = rest[max(n, 0):]
	}
	return len(p), nil
}
