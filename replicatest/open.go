package replicatest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"testing/iotest"

	"github.com/ltxvfs/litestream/replica"
)

var openCases = []testCase{
	{name: "reads size bytes from offset on", run: func(e *env) {
		f, body := e.writeSample()
		n := int64(len(body))
		for _, r := range [][2]int64{{0, 1}, {0, 100}, {1, 1}, {99, 2}, {100, n - 200}, {n - 1, 1}, {n - 16, 16}, {0, n}} {
			offset, size := r[0], r[1]
			e.wantBytes(f, e.read(f, offset, size), body[offset:offset+size])
		}
	}},

	{name: "a size of 0 reads to the end", run: func(e *env) {
		f, body := e.writeSample()
		n := int64(len(body))
		for _, offset := range []int64{0, 1, 100, n - 1} {
			e.wantBytes(f, e.read(f, offset, 0), body[offset:])
		}
	}},

	{name: "a range beyond the end gives the bytes that there are", run: func(e *env) {
		f, body := e.writeSample()
		n := int64(len(body))
		for _, r := range [][2]int64{{0, n + 1}, {n - 16, 17}, {n - 1, 1 << 20}, {10, math.MaxInt64 - 10}} {
			offset, size := r[0], r[1]
			e.wantBytes(f, e.read(f, offset, size), body[offset:])
		}
	}},

	{name: "a range at or after the end gives no bytes", run: func(e *env) {
		f, body := e.writeSample()
		n := int64(len(body))
		for _, r := range [][2]int64{{n, 0}, {n, 1}, {n + 1, 0}, {n + 1, 10}, {n + 1<<20, 1 << 20}} {
			e.wantBytes(f, e.read(f, r[0], r[1]), nil)
		}
	}},

	{name: "files differ by level and both TXIDs", run: func(e *env) {
		files := []file{{0, 1, 1}, {1, 1, 1}, {0, 1, 2}, {0, 2, 2}, {replica.SnapshotLevel, 1, 2}}
		e.write(files...)
		for _, f := range files {
			e.wantBody(f, f.body())
		}
	}},

	{name: "a missing file is fs.ErrNotExist", run: func(e *env) {
		e.wantOpenMissing(file{0, 1, 1}) // the replica does not exist yet
		e.write(file{0, 2, 5})
		for _, f := range []file{{0, 2, 4}, {0, 3, 5}, {1, 2, 5}, {0, 6, 6}} {
			e.wantOpenMissing(f)
		}
	}},

	{name: "can be read in small pieces", run: func(e *env) {
		f, body := e.writeSample()
		r, err := e.client.OpenLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, 10, 200)
		if err != nil {
			e.Fatal(err)
		}
		got, err := io.ReadAll(iotest.OneByteReader(r))
		if err := errors.Join(err, r.Close()); err != nil {
			e.Fatal(err)
		}
		e.wantBytes(f, got, body[10:210])
	}},

	{name: "two bodies of one file are apart", run: func(e *env) {
		f, body := e.writeSample()
		var readers [2]io.ReadCloser
		for i := range readers {
			r, err := e.client.OpenLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, int64(i), 0)
			if err != nil {
				e.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			readers[i] = r
		}
		for at := range 100 {
			for i, r := range readers {
				b := make([]byte, 1)
				if _, err := io.ReadFull(r, b); err != nil {
					e.Fatal(err)
				}
				e.wantBytes(f, b, body[at+i:at+i+1])
			}
		}
	}},

	{name: "a large body can be read whole and in ranges", skip: noLarge, run: func(e *env) {
		f := file{replica.SnapshotLevel, 1, 7}
		body := e.large(f)
		e.writeBody(f, body)
		e.wantBody(f, body)
		n := int64(len(body))
		for _, r := range [][2]int64{{n / 2, 0}, {n / 3, n / 3}, {n - 16, 16}, {n - 1<<10, 1 << 20}} {
			offset, size := r[0], r[1]
			want := body[offset:]
			if size > 0 {
				want = want[:min(size, int64(len(want)))]
			}
			e.wantBytes(f, e.read(f, offset, size), want)
		}
	}},

	{name: "a body that is cut off does not end in io.EOF", skip: noLarge, run: func(e *env) {
		f := file{replica.SnapshotLevel, 1, 7}
		body := e.large(f)
		e.writeBody(f, body)
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		r, err := e.client.OpenLTXFile(ctx, f.level, f.minTXID, f.maxTXID, 0, 0)
		if err != nil {
			e.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		got := make([]byte, 100)
		if _, err := io.ReadFull(r, got); err != nil {
			e.Fatal(err)
		}
		cancel() // the only way to cut off a body that works for every store
		rest, err := io.ReadAll(r)
		if got = append(got, rest...); err == nil && len(got) < len(body) {
			e.Fatalf("%s: body ended in io.EOF after %d of %d bytes", f, len(got), len(body))
		}
		if !bytes.HasPrefix(body, got) {
			e.Fatalf("%s: the %d bytes before the cut are not those of the file", f, len(got))
		}
	}},

	{name: "a body can be closed before its end", run: func(e *env) {
		f, body := e.writeSample()
		r, err := e.client.OpenLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, 0, 0)
		if err != nil {
			e.Fatal(err)
		}
		if err := r.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		e.wantBody(f, body)
	}},
}

// writeSample stores a file of some hundred bytes.
func (e *env) writeSample() (file, []byte) {
	e.Helper()
	f := file{1, 3, 0x1f}
	body := f.body()
	e.writeBody(f, body)
	return f, body
}

// wantOpenMissing checks that OpenLTXFile itself returns fs.ErrNotExist for a
// file, whatever the range is.
func (e *env) wantOpenMissing(f file) {
	e.Helper()
	for _, r := range [][2]int64{{0, 0}, {0, 100}, {100, 0}, {1 << 20, 1}} {
		body, err := e.client.OpenLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, r[0], r[1])
		if err == nil {
			_ = body.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			e.Errorf("OpenLTXFile %s at %d of %d bytes: got error %v, want fs.ErrNotExist", f, r[0], r[1], err)
		}
	}
}
