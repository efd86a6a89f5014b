package decorate

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

// Point is the point of a call at which a [Rule] makes it fail.
type Point int

const (
	// AtStart fails instead of calling the inner client. Nothing is stored or
	// deleted.
	AtStart Point = iota

	// AtEnd calls the inner client, discards its result and fails. The files
	// are stored or deleted, but the caller does not learn that.
	AtEnd

	// InBody fails after Rule.N bytes of the body that is read or written, or
	// after Rule.N files of a listing. The failure takes the place of the next
	// bytes, the next file or the end. Nothing fails if the end comes earlier,
	// or if the operation has no body.
	InBody
)

// Rule says which calls of a [Fault] fail, and how they fail.
type Rule struct {
	// Match tells whether the rule applies to a call. Nil: it applies to all
	// calls. Match may be called concurrently.
	Match func(Call) bool

	// Skip is the number of matching calls before the rule begins to act. Zero
	// or less: none.
	Skip int

	// Times is the number of calls on which the rule acts. Zero or less: it
	// acts on all calls.
	Times int

	// Before and After, if not nil, are called before and after a call on which
	// the rule acts. After gets the error that the caller gets. A body or a
	// listing has not been read at that time. Both may be called concurrently,
	// and may block.
	Before func(Call)
	After  func(Call, error)

	// Err is the error of the call. Nil: the call does not fail, unless Hang is
	// set.
	Err error

	// Hang makes the call wait until its context is done, and fail with the
	// context's error.
	Hang bool

	// At is the point at which the call fails.
	At Point

	// N is the number of bytes of a body, or of files of a listing, before
	// InBody fails. Zero or less: none.
	N int64
}

// Fault is a client that fails by rules, and otherwise passes calls on to the
// inner client. Rules can be added and removed at any time. They apply to calls
// that start later. All methods are safe for concurrent use.
//
// Rules apply to a call in the order in which they were added. All their hooks
// are called, and the first rule with a failure decides.
type Fault struct {
	decorator
	calls  atomic.Int64
	faults atomic.Int64

	mu struct {
		sync.Mutex
		rules []*activeRule // replaced by another slice, and never changed
	}
}

var (
	_ replica.Client            = (*Fault)(nil)
	_ replica.Initializer       = (*Fault)(nil)
	_ replica.LTXFileCreator    = (*Fault)(nil)
	_ replica.AllLTXFilesLister = (*Fault)(nil)
	_ replica.Surveyor          = (*Fault)(nil)
)

// activeRule is a rule that was added.
type activeRule struct {
	Rule
	seen atomic.Int64 // matching calls
}

// acts counts a call and tells whether the rule acts on it.
func (r *activeRule) acts(c Call) bool {
	if r.Match != nil && !r.Match(c) {
		return false
	}
	n := r.seen.Add(1) - int64(max(r.Skip, 0))
	return n > 0 && (r.Times <= 0 || n <= int64(r.Times))
}

// NewFault returns a client that passes calls on to inner until it has rules.
func NewFault(inner replica.Client) *Fault {
	return &Fault{decorator: decorator{inner}}
}

// Add adds a rule and returns a function that removes it. Further calls of that
// function do nothing.
func (f *Fault) Add(r Rule) (remove func()) {
	added := &activeRule{Rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.rules = append(slices.Clip(f.mu.rules), added)

	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.mu.rules = slices.DeleteFunc(slices.Clone(f.mu.rules), func(r *activeRule) bool { return r == added })
	}
}

// FailCall makes the k-th call from now on fail with err instead of being made.
// k counts from 1. FailCall is short for a Rule, and returns the result of Add.
// A script that runs for k = 1, 2, ... until [Fault.Faults] stays 0 has seen a
// failure of each of its calls.
func (f *Fault) FailCall(k int, err error) (remove func()) {
	return f.Add(Rule{Skip: k - 1, Times: 1, Err: err})
}

// Reset removes all rules and sets the numbers of calls and faults to zero.
func (f *Fault) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.rules = nil
	f.calls.Store(0)
	f.faults.Store(0)
}

// Calls returns the number of calls since the last Reset, with and without
// failures.
func (f *Fault) Calls() int { return int(f.calls.Load()) }

// Faults returns the number of calls that failed by a rule since the last
// Reset. A call that fails in its body counts when the body has been read up to
// that point.
func (f *Fault) Faults() int { return int(f.faults.Load()) }

// Init implements replica.Initializer.
func (f *Fault) Init(ctx context.Context) error {
	if !f.supports(OpInit) {
		return nil
	}
	_, err := run(ctx, f, Call{Op: OpInit}, nil, func(*incident) (struct{}, error) {
		return struct{}{}, f.init(ctx)
	})
	return err
}

// LTXFiles implements replica.Client.
func (f *Fault) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	c := Call{Op: OpList, Level: level, Seek: seek, UseMetadata: useMetadata}
	return run(ctx, f, c, closeListing, func(in *incident) (ltx.FileIterator, error) {
		itr, err := f.inner.LTXFiles(ctx, level, seek, useMetadata)
		return in.listing(itr, err)
	})
}

// AllLTXFiles implements replica.AllLTXFilesLister.
func (f *Fault) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if !f.supports(OpListAll) {
		return nil, unsupported(OpListAll)
	}
	c := Call{Op: OpListAll, UseMetadata: useMetadata}
	return run(ctx, f, c, closeListing, func(in *incident) (ltx.FileIterator, error) {
		itr, err := f.listAll(ctx, useMetadata)
		return in.listing(itr, err)
	})
}

// OpenLTXFile implements replica.Client.
func (f *Fault) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c := readCall(level, minTXID, maxTXID, offset, size)
	return run(ctx, f, c, closeBody, func(in *incident) (io.ReadCloser, error) {
		body, err := f.inner.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
		if err != nil || !in.fails(InBody) {
			return body, err
		}
		return readCloser{in.reader(body), body}, nil
	})
}

// WriteLTXFile implements replica.Client.
func (f *Fault) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return f.faultyPut(ctx, OpWrite, level, minTXID, maxTXID, r)
}

// CreateLTXFile implements replica.LTXFileCreator.
func (f *Fault) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if !f.supports(OpCreate) {
		return nil, unsupported(OpCreate)
	}
	return f.faultyPut(ctx, OpCreate, level, minTXID, maxTXID, r)
}

func (f *Fault) faultyPut(ctx context.Context, op Op, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return run(ctx, f, writeCall(op, level, minTXID, maxTXID), nil, func(in *incident) (*ltx.FileInfo, error) {
		if in.fails(InBody) {
			r = in.reader(r)
		}
		return f.put(ctx, op, level, minTXID, maxTXID, r)
	})
}

// DeleteLTXFiles implements replica.Client.
func (f *Fault) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	_, err := run(ctx, f, deleteCall(a), nil, func(*incident) (struct{}, error) {
		return struct{}{}, f.inner.DeleteLTXFiles(ctx, a)
	})
	return err
}

// Survey implements replica.Surveyor.
func (f *Fault) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	if !f.supports(OpSurvey) {
		return replica.Survey{}, unsupported(OpSurvey)
	}
	return run(ctx, f, Call{Op: OpSurvey, Dir: dir}, nil, func(*incident) (replica.Survey, error) {
		return f.survey(ctx, dir)
	})
}
