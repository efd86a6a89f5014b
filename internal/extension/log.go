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

// Log is where an extension logs to: standard error, or the file and from the level
// that the environment says. Its zero value logs to standard error. It is safe
// for concurrent use.
type Log struct {
	level slog.LevelVar

	mu   sync.Mutex
	path string   // guarded by mu; of file
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

// logBegin is what every line of a log begins with.
const logBegin = slog.TimeKey + "="

// openLog opens a file to append to, or makes it, for this user only. What is
// there has to be empty or a log, or the device that takes anything.
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

// Logger returns a logger that writes text to where the log goes at the time.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: &l.level}))
}

// Write writes a line. A log that cannot be written to is not worth an error.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_, _ = l.file.Write(p)
		return len(p), nil
	}
	// Not os.Stderr, which ends the process with SIGPIPE if nobody reads, whatever
	// the host thinks of that signal.
	for rest := p; len(rest) > 0; {
		n, err := syscall.Write(2, rest)
		if err != nil && err != syscall.EINTR {
			break
		}
		rest = rest[max(n, 0):]
	}
	return len(p), nil
}
