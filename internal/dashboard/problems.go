package dashboard

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/ltxvfs/litestream"
)

// problem is something that does not work.
type problem struct {
	Text string `json:"text"`
	Todo string `json:"todo"` // what a person can do about it
}

// problems returns what does not work. Only the errors of Health, and not their texts
// in Stats, tell what to do. A page with many healthy databases does not ask for them.
func (o *opened) problems(ctx context.Context) []problem {
	s := &o.stats
	if len(s.Problems) == 0 {
		return []problem{}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second) // it may have been closed just now, and be opened again
	defer cancel()
	all := []problem{}
	for _, err := range parts(o.vfs.Health(ctx, o.name())) {
		one := problemOf(err)
		one.Text = strings.TrimPrefix(one.Text, s.Place+": ") // which stands above it
		all = append(all, one)
	}
	return all
}

// parts returns the errors that an error was joined from.
func parts(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if joined, ok := e.(interface{ Unwrap() []error }); ok {
			if all := joined.Unwrap(); len(all) > 1 {
				return all
			}
		}
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func problemOf(err error) problem { return problem{err.Error(), advice(err)} }

// advice says what a person can do about an error.
func advice(err error) string {
	_, isGap := errors.AsType[*litestream.MissingError](err)
	switch {
	case errors.Is(err, litestream.ErrConflict):
		return "Another program writes to this replica, and only one may. Stop the other one, and open this database again with the same write buffer: the commits that were not uploaded are kept, at the path that the text says."
	case errors.Is(err, litestream.ErrCorrupt), isGap:
		return "Run ltxvfs verify with the URL of the replica. It reads all files and says which are damaged; ltxvfs repair mends what can be mended without loss."
	case errors.Is(err, litestream.ErrNoDatabase):
		return "There is no replica at the place. Look with ltxvfs ls whether the URL is right, and whether the program that writes runs."
	case errors.Is(err, fs.ErrPermission):
		return "Storage refuses the credentials. Check them and the policy: reading needs list and get, writing also put and delete."
	case errors.Is(err, litestream.ErrBufferInUse), errors.Is(err, litestream.ErrForeignBuffer):
		return "Give each process and each database a write buffer of its own."
	case errors.Is(err, context.DeadlineExceeded):
		return "Storage did not answer in time. It is tried again by itself. If it lasts, check the network, the endpoint and the status of the service."
	case errors.Is(err, litestream.ErrClosed):
		return "The program is closing the database."
	}
	return "It is tried again by itself. If it lasts, the log of the program has more."
}
