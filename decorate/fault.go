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

// Point is where in a call a [Rule] makes it fail.
type Point int

const (
	// AtStart fails instead of calling the client within: nothing is stored or
	// deleted.
	AtStart Point = iota

	// AtEnd calls the client within, drops its answer and fails: what was to
	// be stored or deleted is, and the caller does not get to know.
	AtEnd

	// InBody fails after Rule.N bytes of the body that is read or written, or
	// after that many files of a listing, in place of what would come next, the
	// end included. Nothing fails if the end comes earlier, or if the operation
	// has no body.
	InBody
)

// Rule says which calls of a [Fault] fail, and how.
type Rule struct {
	// Match tells which calls the rule is about; nil: all of them. It may be
	// called concurrently.
	Match func(Call) bool

	// Skip is how many matching calls go through before the rule acts. Zero or
	// less: none.
	Skip int

	// Times is on how many calls the rule acts. Zero or less: on all that
	// come.
	Times int

	// Before and After are called, if not nil, before and after a call on which
	// the rule acts, with the error that the caller gets; a body or a listing is
	// not read yet then. They may be called concurrently, and may block.
	Before func(Call)
	After  func(Call, error)

	// Err is the error that the call fails with. Nil: it does not fail, unless
	// Hang is set.
	Err error

	// Hang fails the call with its context's error, but not before that context
	// is done.
	Hang bool

	// At is where the call fails.
	At Point

	// N is where InBody fails: the number of bytes of a body, or of files of a
	// listing, that come through. Zero or less: none.
	N int64
}

// Fault is a client that fails as it is told to, and else does what the one
// within does. Rules can be set and cleared at any time; they apply to calls
// that start later. All methods are safe for concurrent use.
//
// The rules of a call are looked at in the order in which they were added: all
// hooks are called, and the first rule with a failure decides.
type Fault struct {
	decorator
	calls  atomic.Int64
	faults atomic.Int64

	mu    sync.Mutex // guards rules; the slice is replaced, never changed
	rules []*activeRule
}

var (
	_ replica.Client            = (*Fault)(nil)
	_ replica.Initializer       = (*Fault)(nil)
	_ replica.LTXFileCreator    = (*Fault)(nil)
	_ replica.AllLTXFilesLister = (*Fault)(nil)
)

// activeRule is a rule that has been added.
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

// NewFault returns a client that does what inner does until it has rules.
func NewFault(inner replica.Client) *Fault {
	return &Fault{decorator: decorator{inner}}
}

// Add adds a rule. The function it returns removes it again; a second call of
// that does nothing.
func (f *Fault) Add(r Rule) (remove func()) {
	added := &activeRule{Rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(slices.Clip(f.rules), added)

	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.rules = slices.DeleteFunc(slices.Clone(f.rules), func(r *activeRule) bool { return r == added })
	}
}

// FailCall makes the k-th call from now on fail with err instead of being
// made; k counts from 1. It is short for a Rule, and returns what Add returns.
// A script that is run for k = 1, 2, ... until [Fault.Faults] stays 0 has met a
// failure of each of its calls.
func (f *Fault) FailCall(k int, err error) (remove func()) {
	return f.Add(Rule{Skip: k - 1, Times: 1, Err: err})
}

// Reset removes all rules and sets the numbers of calls and faults to zero.
func (f *Fault) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
	f.calls.Store(0)
	f.faults.Store(0)
}

// Calls returns the number of calls since the last Reset, whatever became of
// them.
func (f *Fault) Calls() int { return int(f.calls.Load()) }

// Faults returns how many calls have been made to fail since the last Reset.
// A call that is to fail in its body counts when that is read so far.
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
