package replicatest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing/iotest"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

var writeCases = append(putCases(func(e *env) put { return e.client.WriteLTXFile }, nil),
	testCase{name: "replaces a file of the same name", run: func(e *env) {
		f := file{0, 1, 1}
		for i := range 4 {
			body := f.sized(uint64(i), []int{3, 1, 2, 2}[i]) // shorter, longer, of the same length
			info := e.writeBody(f, body)
			e.wantInfo(f, info, len(body))
			e.wantBody(f, body)
			e.wantList(0, 0, f)
		}
	}},

	testCase{name: "after an error a file of the same name is there whole", run: func(e *env) {
		f := file{0, 1, 1}
		e.write(f)
		body := f.variant(1)
		for _, n := range []int{0, ltx.HeaderSize, len(body) / 2, len(body)} {
			if _, err := e.client.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, failing(body[:n])); err == nil {
				e.Fatalf("no error although the reader failed after %d bytes", n)
			}
			e.wantBody(f, f.body())
			e.wantList(0, 0, f)
		}
	}},

	testCase{name: "is durable when it returns", skip: noReopen, run: func(e *env) {
		f := file{0, 1, 1}
		e.write(f)
		e.client = e.reopen()
		e.wantList(0, 0, f)
		e.wantBody(f, f.body())
	}},
)

// putCases are the common cases of WriteLTXFile and CreateLTXFile.
func putCases(method func(*env) put, skip func(Properties) string) []testCase {
	skipOr := func(further func(Properties) string) func(Properties) string {
		return func(p Properties) string {
			if skip != nil && skip(p) != "" {
				return skip(p)
			}
			return further(p)
		}
	}
	return []testCase{
		{name: "stores what r gives until io.EOF", skip: skip, run: func(e *env) {
			store := method(e)
			for i, wrap := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r },
				iotest.OneByteReader,
				iotest.HalfReader,
				iotest.DataErrReader,                                     // returns io.EOF with the last bytes
				func(r io.Reader) io.Reader { return io.MultiReader(r) }, // does not show its size
				func(r io.Reader) io.Reader { return &hesitant{r: r} },   // sometimes returns 0, nil
			} {
				f := file{i, 2, ltx.TXID(i + 2)}
				if _, err := store(e.ctx, f.level, f.minTXID, f.maxTXID, wrap(bytes.NewReader(f.body()))); err != nil {
					e.Fatalf("%s: %v", f, err)
				}
				e.wantBody(f, f.body())
				e.wantList(f.level, 0, f)
			}
		}},

		{name: "stores at every level", skip: skip, run: func(e *env) {
			for level := range replica.SnapshotLevel + 1 {
				f := file{level, 1, 0x10}
				if _, err := method(e)(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.body())); err != nil {
					e.Fatalf("%s: %v", f, err)
				}
				e.wantBody(f, f.body())
			}
		}},

		{name: "returns level and TXIDs and size and the header timestamp", skip: skip, run: func(e *env) {
			for i, f := range []file{{0, 1, 1}, {replica.SnapshotLevel, 1, 0xffffff}} {
				body := f.sized(0, i+1)
				info, err := method(e)(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body))
				if err != nil {
					e.Fatalf("%s: %v", f, err)
				}
				e.wantInfo(f, info, len(body))
			}
		}},

		{name: "a file does not appear before it is whole", skip: skip, run: func(e *env) {
			f := file{0, 1, 1}
			body := f.body()
			store := method(e)
			pr, pw := io.Pipe()
			defer func() { _ = pw.CloseWithError(errReader) }()
			done := make(chan error, 1)
			go func() {
				_, err := store(e.ctx, f.level, f.minTXID, f.maxTXID, pr)
				_ = pr.CloseWithError(errors.New("write has returned"))
				done <- err
			}()
			for part := range slices.Chunk(body, len(body)/3+1) {
				e.wantMissing(f)
				if _, err := pw.Write(part); err != nil {
					e.Fatal(errors.Join(err, <-done))
				}
			}
			e.wantMissing(f)
			_ = pw.Close() // never fails
			if err := <-done; err != nil {
				e.Fatal(err)
			}
			e.wantBody(f, body)
		}},

		{name: "after an error from r there is no file", skip: skip, run: func(e *env) {
			f := file{0, 1, 1}
			body := f.body()
			for _, n := range []int{0, 1, ltx.HeaderSize - 1, ltx.HeaderSize, len(body) / 2, len(body)} {
				if _, err := method(e)(e.ctx, f.level, f.minTXID, f.maxTXID, failing(body[:n])); err == nil {
					e.Errorf("no error although the reader failed after %d bytes", n)
				}
				e.wantMissing(f)
			}
			if _, err := method(e)(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body)); err != nil {
				e.Fatalf("after failed writes: %v", err)
			}
			e.wantBody(f, body)
		}},

		{name: "a body without an LTX header is an error", skip: skip, run: func(e *env) {
			f := file{0, 1, 1}
			for _, body := range [][]byte{nil, f.body()[:ltx.HeaderSize-1], bytes.Repeat([]byte("x"), 2*ltx.HeaderSize)} {
				if _, err := method(e)(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body)); err == nil {
					e.Errorf("no error for a body of %d bytes without an LTX header", len(body))
				}
				e.wantMissing(f)
			}
		}},

		{name: "stores a large body", skip: skipOr(noLarge), run: func(e *env) {
			f := file{replica.SnapshotLevel, 1, 7}
			body := e.large(f)
			info, err := method(e)(e.ctx, f.level, f.minTXID, f.maxTXID, io.MultiReader(bytes.NewReader(body)))
			if err != nil {
				e.Fatal(err)
			}
			e.wantInfo(f, info, len(body))
			e.wantBody(f, body)
		}},

		{name: "after an error from r in a large body there is no file", skip: skipOr(noLarge), run: func(e *env) {
			f := file{replica.SnapshotLevel, 1, 7}
			body := e.large(f)
			for _, n := range []int{len(body) / 2, len(body)} {
				if _, err := method(e)(e.ctx, f.level, f.minTXID, f.maxTXID, failing(body[:n])); err == nil {
					e.Errorf("no error although the reader failed after %d bytes", n)
				}
				e.wantMissing(f)
			}
		}},
	}
}

// wantInfo checks the info that a write has returned.
func (e *env) wantInfo(f file, info *ltx.FileInfo, size int) {
	e.Helper()
	if info == nil {
		e.Fatalf("%s: info is nil", f)
	}
	e.wantFiles("info", []file{{info.Level, info.MinTXID, info.MaxTXID}}, []file{f})
	if info.Size != int64(size) {
		e.Errorf("%s: Size is %d, want %d", f, info.Size, size)
	}
	e.wantTime(f, info.CreatedAt, 0)
}

// errReader is the error of failing readers.
var errReader = errors.New("reader fails on purpose")

// failing returns b, then errReader.
func failing(b []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(b), iotest.ErrReader(errReader))
}

// hesitant returns no bytes and no error at every other Read.
type hesitant struct {
	r    io.Reader
	call int
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.call++; h.call%2 == 1 {
		return 0, nil
	}
	return h.r.Read(p)
}
