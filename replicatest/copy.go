package replicatest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

var copyCases = []testCase{
	{name: "the file has the content and the timestamp of the other one", skip: noPeer, run: func(e *env) {
		from := e.peer()
		for _, f := range []file{{0, 1, 1}, {3, 2, 9}, {replica.SnapshotLevel, 1, 9}} {
			body := f.body()
			if f.level == replica.SnapshotLevel && e.props.LargeBody > 0 {
				body = e.large(f)
			}
			if _, err := from.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body)); err != nil {
				e.Fatal(err)
			}
			info, err := e.copier().CopyLTXFile(e.ctx, from, f.level, f.minTXID, f.maxTXID)
			if err != nil {
				e.Fatal(err)
			}
			if want := f.timestamp(); info.Level != f.level || info.MinTXID != f.minTXID || info.MaxTXID != f.maxTXID || info.Size != int64(len(body)) || !info.CreatedAt.Equal(want) {
				e.Errorf("%s: got info %+v, want %d bytes of %s", f, *info, len(body), want)
			}
			e.wantBody(f, body)
			listed := e.list(f.level, 0, true)
			if len(listed) != 1 || !e.props.NoTimestamps && listed[0].CreatedAt.Sub(f.timestamp()).Abs() > e.props.TimestampPrecision {
				e.Errorf("%s: listed as %+v, want the time %s", f, listed, f.timestamp())
			}
		}
	}},

	{name: "a missing file is fs.ErrNotExist", skip: noPeer, run: func(e *env) {
		f := file{0, 1, 1}
		if _, err := e.copier().CopyLTXFile(e.ctx, e.peer(), f.level, f.minTXID, f.maxTXID); !errors.Is(err, fs.ErrNotExist) {
			e.Errorf("got error %v, want fs.ErrNotExist", err)
		}
		e.wantMissing(f)
	}},

	{name: "an existing file is fs.ErrExist and does not change", skip: noPeer, run: func(e *env) {
		f, from := file{0, 1, 1}, e.peer()
		if _, err := from.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.variant(1))); err != nil {
			e.Fatal(err)
		}
		e.write(f)
		if _, err := e.copier().CopyLTXFile(e.ctx, from, f.level, f.minTXID, f.maxTXID); !errors.Is(err, fs.ErrExist) {
			e.Errorf("got error %v, want fs.ErrExist", err)
		}
		e.wantBody(f, f.body())
	}},

	{name: "another version than the context asks for is fs.ErrNotExist", skip: func(p Properties) string { return cmp.Or(noVersions(p), noPeer(p)) }, run: func(e *env) {
		f, from := file{0, 1, 1}, e.peer()
		write := func(body []byte) {
			if _, err := from.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body)); err != nil {
				e.Fatal(err)
			}
		}
		write(f.body())
		ctx := withVersionOf(e, from, f)
		write(f.sized(1, 3))
		if _, err := e.copier().CopyLTXFile(ctx, from, f.level, f.minTXID, f.maxTXID); !errors.Is(err, fs.ErrNotExist) {
			e.Errorf("got error %v, want fs.ErrNotExist", err)
		}
		e.wantMissing(f)
		if _, err := e.copier().CopyLTXFile(withVersionOf(e, from, f), from, f.level, f.minTXID, f.maxTXID); err != nil {
			e.Errorf("the version that is there: %v", err)
		}
	}},

	{name: "a client of another store is errors.ErrUnsupported", skip: noPeer, run: func(e *env) {
		f, from := file{0, 1, 1}, e.peer()
		if _, err := from.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.body())); err != nil {
			e.Fatal(err)
		}
		if _, err := e.copier().CopyLTXFile(e.ctx, otherStore{from}, f.level, f.minTXID, f.maxTXID); !errors.Is(err, errors.ErrUnsupported) {
			e.Errorf("got error %v, want errors.ErrUnsupported", err)
		}
		e.wantMissing(f)
	}},

	{name: "of concurrent calls exactly one succeeds", skip: noPeer, run: func(e *env) {
		f := file{0, 1, 1}
		const callers = 8
		var errs [callers]error
		var wg sync.WaitGroup
		for i := range callers {
			from := e.peer()
			if _, err := from.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.variant(uint64(i)))); err != nil {
				e.Fatal(err)
			}
			wg.Go(func() { _, errs[i] = e.copier().CopyLTXFile(e.ctx, from, f.level, f.minTXID, f.maxTXID) })
		}
		wg.Wait()
		winner := slices.Index(errs[:], nil)
		if winner < 0 {
			e.Fatalf("none of %d calls succeeded; the first error is %v", callers, errs[0])
		}
		for i, err := range errs {
			if i != winner && !errors.Is(err, fs.ErrExist) {
				e.Fatalf("call %d succeeded, and call %d got error %v, want fs.ErrExist", winner, i, err)
			}
		}
		e.wantBody(f, f.variant(uint64(winner)))
	}},

	{name: "returns the error of its context", skip: noPeer, run: func(e *env) {
		f, from := file{0, 1, 1}, e.peer()
		if _, err := from.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.body())); err != nil {
			e.Fatal(err)
		}
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		if _, err := e.copier().CopyLTXFile(ctx, from, f.level, f.minTXID, f.maxTXID); !errors.Is(err, context.Canceled) {
			e.Errorf("got error %v, want context.Canceled", err)
		}
		e.wantMissing(f)
	}},
}

// copier returns the client's CopyLTXFile.
func (e *env) copier() replica.LTXFileCopier {
	e.Helper()
	c, ok := e.client.(replica.LTXFileCopier)
	if !ok {
		e.Fatal("client does not implement replica.LTXFileCopier, and Properties.Peer is not nil")
	}
	return c
}

// peer returns a client of another replica.
func (e *env) peer() replica.Client {
	e.Helper()
	c := e.props.Peer(e.T, e.client)
	e.init(c)
	return c
}

// withVersionOf returns a context for the version that a file has in a replica.
func withVersionOf(e *env, c replica.Client, f file) context.Context {
	e.Helper()
	other := *e
	other.client = c
	return clientio.WithVersion(e.ctx, other.version(f))
}

// otherStore is a client of a store that no client knows.
type otherStore struct{ replica.Client }
