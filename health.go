package litestream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/outcome"
)

// Health returns nil if a database works, and otherwise everything that is wrong
// with it: it cannot be opened, the last poll, the last read of a page or the last
// upload of commits failed, write mode was lost to another writer, or hydration has
// failed. The text says since when, and when it last worked. A database that sleeps
// because nothing uses it works: failed polls and reads count while it is in use, and a
// failed read of the newest state for a minute, unless the local file has every page since.
// The name is the file name under which the database was opened, or the URL of its
// replica. If it is not open, Health opens it. It makes no request otherwise, so it
// is cheap enough for a probe every second. It is safe for concurrent use.
func (v *VFS) Health(ctx context.Context, name string) error {
	return v.with(ctx, name, func(db *database) error {
		var errs []error
		for _, p := range db.problems() {
			errs = append(errs, p.err)
		}
		return placed(db.place, errors.Join(errs...))
	})
}

// Part is a part of a database that something can be wrong with.
type Part string

// The parts of a database.
const (
	PartPolls     Part = "polls"      // polls for new transactions fail
	PartReads     Part = "reads"      // reads of pages from storage fail
	PartSyncs     Part = "syncs"      // uploads of commits fail
	PartWriteMode Part = "write_mode" // write mode was lost to another writer
	PartHydration Part = "hydration"  // the copy to the local file has failed
)

// Problem is something that is wrong with a database.
type Problem struct {
	Part  Part      `json:"part"`
	Since time.Time `json:"since,omitzero"` // zero if it is not known
	Error string    `json:"error"`          // as Health says it
}

// problem is a Problem before its text is made.
type problem struct {
	part  Part
	since time.Time
	err   error
}

// failing returns the problem of an operation whose last attempt failed.
func failing(part Part, operation string, l outcome.Last) problem {
	before := "never worked before"
	if !l.Success.IsZero() {
		before = "last worked at " + formatTime(l.Success)
	}
	return problem{part, l.Since, fmt.Errorf("%s fail since %s and %s: %w", operation, formatTime(l.Since), before, l.Err)}
}

// problems returns what is wrong with the database.
func (db *database) problems() (found []problem) {
	if polls := db.poller.polls.Last(); polls.IsFailing() && pollState(db.poller.state.Load()) == pollRunning {
		found = append(found, failing(PartPolls, "polls", polls))
	}
	if reads := db.reads.Last(); reads.IsFailing() && db.stillCounts(reads.Failure) {
		found = append(found, failing(PartReads, "reads", reads))
	}
	s, part := db.writer.Status(), PartSyncs
	if s.Lost {
		part = PartWriteMode
	}
	switch {
	case s.Problem == nil:
	case s.Syncs.IsFailing() && errors.Is(s.Problem, s.Syncs.Err):
		found = append(found, failing(part, "write mode: syncs", s.Syncs))
	default:
		found = append(found, problem{part: part, err: fmt.Errorf("write mode: %w", s.Problem)})
	}
	if p := db.hydrator.Progress(); p.Status == hydrate.Failed {
		found = append(found, problem{part: PartHydration, err: fmt.Errorf("hydration: %s", p.Error)})
	}
	return found
}

// readsMatter is how long a failed read counts as a problem. Reads that find their pages
// in the cache or in the local file never say that storage works again.
const readsMatter = time.Minute

// stillCounts reports whether a read that failed at a time tells of the reads of now.
func (db *database) stillCounts(failed time.Time) bool {
	return !db.poller.isIdle() && !db.pages.IsAllLocal() && time.Since(failed).Abs() < readsMatter
}

// publicProblems returns problems for Stats.
func publicProblems(problems []problem) []Problem {
	public := make([]Problem, 0, len(problems))
	for _, p := range problems {
		public = append(public, Problem{Part: p.part, Since: p.since, Error: p.err.Error()})
	}
	return public
}
