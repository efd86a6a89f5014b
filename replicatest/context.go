package replicatest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/superfly/ltx"
)

var contextCases = []testCase{
	doneCase("LTXFiles", nil, func(e *env, ctx context.Context, f file) error {
		_, err := list(ctx, e.client, f.level, 0, false)
		return err
	}),
	doneCase("LTXFiles with useMetadata", nil, func(e *env, ctx context.Context, f file) error {
		_, err := list(ctx, e.client, f.level, 0, true)
		return err
	}),
	doneCase("OpenLTXFile", nil, func(e *env, ctx context.Context, f file) error {
		r, err := e.client.OpenLTXFile(ctx, f.level, f.minTXID, f.maxTXID, 0, 0)
		if err == nil {
			_ = r.Close()
		}
		return err
	}),
	doneCase("WriteLTXFile", nil, func(e *env, ctx context.Context, f file) error {
		other := file{f.level, f.maxTXID + 1, f.maxTXID + 1}
		_, err := e.client.WriteLTXFile(ctx, other.level, other.minTXID, other.maxTXID, bytes.NewReader(other.body()))
		return err
	}),
	doneCase("CreateLTXFile", noCreate, func(e *env, ctx context.Context, f file) error {
		other := file{f.level, f.maxTXID + 1, f.maxTXID + 1}
		_, err := e.creator()(ctx, other.level, other.minTXID, other.maxTXID, bytes.NewReader(other.body()))
		return err
	}),
	doneCase("DeleteLTXFiles", nil, func(e *env, ctx context.Context, f file) error {
		return e.client.DeleteLTXFiles(ctx, []*ltx.FileInfo{f.info()})
	}),
	doneCase("AllLTXFiles", noListAll, func(e *env, ctx context.Context, _ file) error {
		itr, err := e.allLister().AllLTXFiles(ctx, false)
		if err != nil {
			return err
		}
		_, err = drain(itr)
		return err
	}),
	doneCase("Survey", noSurvey, func(e *env, ctx context.Context, _ file) error {
		_, err := e.surveyor().Survey(ctx, "")
		return err
	}),

	{name: "WriteLTXFile returns when its context is done in the middle of r", run: func(e *env) {
		e.cancelWithin(e.client.WriteLTXFile)
	}},
	{name: "CreateLTXFile returns when its context is done in the middle of r", skip: noCreate, run: func(e *env) {
		e.cancelWithin(e.creator())
	}},
}

// doneCase is the case of a method whose context is done before the call. call
// calls the method for the file f, which exists.
func doneCase(method string, skip func(Properties) string, call func(*env, context.Context, file) error) testCase {
	return testCase{name: method + " returns the error of its context", skip: skip, run: func(e *env) {
		f := file{0, 1, 1}
		e.write(f)

		canceled, cancel := context.WithCancel(e.ctx)
		cancel()
		if err := call(e, canceled, f); !errors.Is(err, context.Canceled) {
			e.Errorf("got error %v, want context.Canceled", err)
		}

		e.write(f) // the call may have deleted it
		expired, cancel := context.WithDeadline(e.ctx, time.Unix(0, 0))
		defer cancel()
		if err := call(e, expired, f); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("got error %v, want context.DeadlineExceeded", err)
		}
		// The client can still be used.
		e.write(f)
		e.wantBody(f, f.body())
	}}
}

// cancelWithin cancels the context of a write after half of the body has been
// read.
func (e *env) cancelWithin(store put) {
	e.Helper()
	f := file{0, 1, 1}
	body := f.body()
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	half := len(body) / 2
	r := io.MultiReader(
		bytes.NewReader(body[:half]),
		readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }),
		bytes.NewReader(body[half:]),
	)
	if _, err := store(ctx, f.level, f.minTXID, f.maxTXID, r); !errors.Is(err, context.Canceled) {
		e.Errorf("got error %v, want context.Canceled", err)
	}
	// The file is either complete or absent.
	if len(e.list(f.level, 0, false)) > 0 {
		e.wantBody(f, body)
	} else {
		e.wantMissing(f)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
