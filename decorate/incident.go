package decorate

import (
	"context"
	"io"

	"github.com/superfly/ltx"
)

// incident is the effect of the rules on one call.
type incident struct {
	ctx   context.Context
	fault *Fault
	hooks []*activeRule // the rules that act, in order
	rule  *activeRule   // the rule that decides how the call fails, or nil
}

// run makes a call under the rules of f. If the result of do does not reach the
// caller, drop gets it, unless drop is nil.
func run[T any](ctx context.Context, f *Fault, c Call, drop func(T), do func(*incident) (T, error)) (T, error) {
	in := f.incident(ctx, c)
	for _, r := range in.hooks {
		if r.Before != nil {
			r.Before(c)
		}
	}
	v, err := attempt(in, drop, do)
	for _, r := range in.hooks {
		if r.After != nil {
			r.After(c, err)
		}
	}
	return v, err
}

func attempt[T any](in *incident, drop func(T), do func(*incident) (T, error)) (T, error) {
	var zero T
	if in.fails(AtStart) {
		return zero, in.fail()
	}
	v, err := do(in)
	if in.fails(AtEnd) {
		if err == nil && drop != nil {
			drop(v)
		}
		return zero, in.fail()
	}
	return v, err
}

// incident counts a call and finds the rules that act on it.
func (f *Fault) incident(ctx context.Context, c Call) *incident {
	f.mu.Lock()
	rules := f.mu.rules
	f.mu.Unlock()

	f.calls.Add(1)
	in := &incident{ctx: ctx, fault: f}
	for _, r := range rules {
		if !r.acts(c) {
			continue
		}
		in.hooks = append(in.hooks, r)
		if in.rule == nil && (r.Hang || r.Err != nil) {
			in.rule = r
		}
	}
	return in
}

// fails tells whether the call fails at the given point.
func (in *incident) fails(at Point) bool { return in.rule != nil && in.rule.At == at }

// fail waits if it has to and returns the error to fail with.
func (in *incident) fail() error {
	in.fault.faults.Add(1)
	if in.rule.Hang {
		<-in.ctx.Done()
		return in.ctx.Err()
	}
	return in.rule.Err
}

// reader returns a reader of r that fails at the point of the rule.
func (in *incident) reader(r io.Reader) io.Reader {
	return &faultyReader{r: r, left: in.rule.N, in: in}
}

// listing wraps the results of a list call.
func (in *incident) listing(itr ltx.FileIterator, err error) (ltx.FileIterator, error) {
	if err != nil || !in.fails(InBody) {
		return itr, err
	}
	return &faultyIterator{FileIterator: itr, left: in.rule.N, in: in}, nil
}

func closeListing(itr ltx.FileIterator) { _ = itr.Close() }

func closeBody(body io.ReadCloser) { _ = body.Close() }

type faultyReader struct {
	r    io.Reader
	left int64 // bytes that are still passed on
	in   *incident
	err  error
}

func (r *faultyReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		if r.err == nil {
			r.err = r.in.fail()
		}
		return 0, r.err
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	return n, err
}

type faultyIterator struct {
	ltx.FileIterator
	left int64 // files that are still passed on
	in   *incident
	err  error
}

func (itr *faultyIterator) Next() bool {
	if itr.left <= 0 {
		if itr.err == nil {
			itr.err = itr.in.fail()
		}
		return false
	}
	itr.left--
	return itr.FileIterator.Next()
}

func (itr *faultyIterator) Item() *ltx.FileInfo {
	if itr.err != nil {
		return nil
	}
	return itr.FileIterator.Item()
}

func (itr *faultyIterator) Err() error { return firstError(itr.err, itr.FileIterator.Err()) }

func (itr *faultyIterator) Close() error {
	err := itr.FileIterator.Close()
	return firstError(itr.err, err)
}
