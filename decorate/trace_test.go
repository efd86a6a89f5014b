package decorate_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/memory"
)

// concurrently calls the functions at once.
func concurrently(fs ...func()) {
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	wg.Wait()
}

// must reports an error of a call that returns something else too.
func must[T any](t *testing.T) func(T, error) {
	return func(_ T, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
}

// With a latency within and in virtual time, the calls of a round trip are a
// wave, in the same order in each run.
func TestTrace_Waves(t *testing.T) {
	want := fmt.Sprintf(`wave 1: list level=0 seek=1e -> 2 files
wave 1: list level=1 seek=0 -> 0 files
wave 1: list level=9 seek=0 -> 1 file
wave 2: read 0/000000000000001e-000000000000001e offset=0 size=100 -> 100 bytes
wave 2: read 0/000000000000001e-000000000000001e offset=100 to end -> error: not exist
wave 2: read 0/000000000000001f-000000000000001f offset=0 size=100 -> 100 bytes
wave 2: read 9/0000000000000001-000000000000001d offset=0 size=4096 -> 4096 bytes
wave 3: create 0/0000000000000020-0000000000000020 -> %d bytes
wave 4: delete 2 files 0/0000000000000030-0000000000000030 to 0/0000000000000031-0000000000000031 -> ok
wave 4: list-all metadata -> 4 files
`, len(encode(t, 0x20, 0x20)))
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			store := memory.NewReplicaClient()
			write(t, store, 9, 1, 0x1d)
			write(t, store, 0, 0x1e, 0x1e)
			write(t, store, 0, 0x1f, 0x1f)

			fault := decorate.NewFault(store)
			fault.Add(decorate.Rule{
				Match: func(c decorate.Call) bool { return c.Op == decorate.OpRead && c.Offset == 100 },
				Err:   fs.ErrNotExist,
			})
			trace := decorate.NewTrace(decorate.NewLatency(fault, decorate.Latency{PerRequest: 20 * time.Millisecond, BytesPerSecond: 1e6}))
			script(t, trace)
			if got := trace.String(); got != want {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// script makes four round trips.
func script(t *testing.T, c *decorate.Trace) {
	ctx := t.Context()
	concurrently(
		func() { must[[]*ltx.FileInfo](t)(list(ctx, c, 9, 0)) },
		func() { must[[]*ltx.FileInfo](t)(list(ctx, c, 1, 0)) },
		func() { must[[]*ltx.FileInfo](t)(list(ctx, c, 0, 0x1e)) },
	)
	concurrently(
		func() { must[[]byte](t)(read(ctx, c, 0, 0x1f, 0x1f, 0, 100)) },
		func() {
			if _, err := read(ctx, c, 0, 0x1e, 0x1e, 100, 0); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got error %v, want fs.ErrNotExist", err)
			}
		},
		func() { must[[]byte](t)(read(ctx, c, 9, 1, 0x1d, 0, 4096)) },
		func() { must[[]byte](t)(read(ctx, c, 0, 0x1e, 0x1e, 0, 100)) },
	)
	must[*ltx.FileInfo](t)(c.CreateLTXFile(ctx, 0, 0x20, 0x20, bytes.NewReader(encode(t, 0x20, 0x20))))
	concurrently(
		func() {
			itr, err := c.AllLTXFiles(ctx, true)
			if err != nil {
				t.Error(err)
				return
			}
			must[[]*ltx.FileInfo](t)(ltx.SliceFileIterator(itr))
		},
		func() {
			// Files that are not there: the listing may come before or after.
			if err := c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 0x31, MaxTXID: 0x31}, {MinTXID: 0x30, MaxTXID: 0x30}}); err != nil {
				t.Error(err)
			}
		},
	)
}

// Calls one after the other do not overlap, in whatever wave they are.
func TestTrace_Order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memory.NewReplicaClient()
		write(t, c, 0, 1, 1)
		trace := decorate.NewTrace(decorate.NewLatency(c, decorate.Latency{PerRequest: time.Millisecond}))

		start := time.Now()
		r, err := trace.OpenLTXFile(t.Context(), 0, 1, 1, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if e := trace.Events()[0]; !e.Open() || !e.End.IsZero() || trace.Counts().Open != 1 {
			t.Errorf("a body that is not closed is no open call: %+v", e)
		}
		if got, want := trace.String(), "wave 1: read 0/0000000000000001-0000000000000001 offset=0 size=10 -> open\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		must[[]*ltx.FileInfo](t)(list(t.Context(), trace, 0, 0))
		must[int64](t)(io.Copy(io.Discard, r))
		for range 2 { // closing it twice is one end
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		must[[]*ltx.FileInfo](t)(list(t.Context(), trace, 1, 0))

		events := trace.Events()
		if len(events) != 3 {
			t.Fatalf("%d events, want 3", len(events))
		}
		first, second, third := events[0], events[1], events[2]
		if !first.Overlaps(second) || !second.Overlaps(first) {
			t.Error("a listing while a body is open does not overlap it")
		}
		if first.Overlaps(third) || third.Overlaps(first) {
			t.Error("a listing after a body was closed overlaps it")
		}
		if first.StartSeq != 1 || first.EndSeq != 4 || third.StartSeq != 5 || third.EndSeq != 6 {
			t.Errorf("places of starts and ends are %d %d, %d %d", first.StartSeq, first.EndSeq, third.StartSeq, third.EndSeq)
		}
		if !first.Start.Equal(start) || first.End.Sub(start) != 2*time.Millisecond {
			t.Errorf("body was open from %s to %s", first.Start.Sub(start), first.End.Sub(start))
		}
		if first.Bytes != 10 || first.Err != nil {
			t.Errorf("got %d bytes and error %v", first.Bytes, first.Err)
		}
	})
}

func TestTrace_Counts(t *testing.T) {
	ctx := t.Context()
	trace := decorate.NewTrace(memory.NewReplicaClient())
	body := write(t, trace, 0, 1, 1)
	if _, err := trace.CreateLTXFile(ctx, 0, 1, 1, bytes.NewReader(body)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got error %v, want fs.ErrExist", err)
	}
	must[[]byte](t)(read(ctx, trace, 0, 1, 1, 0, 100))
	must[[]*ltx.FileInfo](t)(list(ctx, trace, 0, 0))
	if err := trace.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1, Size: 5}, {MinTXID: 2, MaxTXID: 2}}); err != nil {
		t.Fatal(err)
	}

	want := decorate.Counts{
		Lists: 1, Reads: 1, Writes: 2, Deletes: 1, Errors: 1,
		FilesListed: 1, FilesDeleted: 2, BytesRead: 100, BytesWritten: 2 * int64(len(body)),
	}
	if got := trace.Counts(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	trace.Reset()
	if got := trace.Counts(); got != (decorate.Counts{}) {
		t.Errorf("after Reset: got %+v", got)
	}
	if got := trace.String(); got != "" {
		t.Errorf("after Reset: got %q", got)
	}
}

// An error counts wherever it comes up, and prints as its class.
func TestTrace_Errors(t *testing.T) {
	store := memory.NewReplicaClient()
	write(t, store, 0, 1, 1)
	fault := decorate.NewFault(store)
	trace := decorate.NewTrace(fault)
	for _, tt := range []struct {
		name string
		rule decorate.Rule
		call func() error
		want string
	}{
		{
			name: "list", rule: decorate.Rule{Err: fs.ErrPermission},
			call: func() error { _, err := list(t.Context(), trace, 0, 0); return err },
			want: "wave 1: list level=0 seek=0 -> error: permission\n",
		},
		{
			name: "iterator", rule: decorate.Rule{Err: errBoom, At: decorate.InBody, N: 1},
			call: func() error { _, err := list(t.Context(), trace, 0, 0); return err },
			want: "wave 1: list level=0 seek=0 -> error: boom\n",
		},
		{
			name: "body", rule: decorate.Rule{Err: io.ErrUnexpectedEOF, At: decorate.InBody, N: 5},
			call: func() error { _, err := read(t.Context(), trace, 0, 1, 1, 0, 0); return err },
			want: "wave 1: read 0/0000000000000001-0000000000000001 offset=0 to end -> error: unexpected EOF\n",
		},
		{
			name: "write",
			call: func() error {
				_, err := trace.WriteLTXFile(t.Context(), 0, 1, 1, iotest.ErrReader(errors.Join(errBoom, fs.ErrInvalid)))
				return err
			},
			want: "wave 1: write 0/0000000000000001-0000000000000001 -> error: invalid\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace.Reset()
			fault.Reset()
			fault.Add(tt.rule)
			if err := tt.call(); err == nil {
				t.Error("no error")
			}
			if got := trace.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got := trace.Counts().Errors; got != 1 {
				t.Errorf("%d errors counted, want 1", got)
			}
		})
	}
}

func TestFormat_Deletes(t *testing.T) {
	call := func(files ...ltx.FileInfo) string {
		return decorate.Call{Op: decorate.OpDelete, Files: files}.String()
	}
	a, b, c := ltx.FileInfo{Level: 0, MinTXID: 2, MaxTXID: 2}, ltx.FileInfo{Level: 0, MinTXID: 2, MaxTXID: 3}, ltx.FileInfo{Level: 1, MinTXID: 1, MaxTXID: 1}
	for _, tt := range []struct{ got, want string }{
		{call(), "delete 0 files"},
		{call(b), "delete 0/0000000000000002-0000000000000003"},
		{call(c, b, a), "delete 3 files 0/0000000000000002-0000000000000002 to 1/0000000000000001-0000000000000001"},
		{decorate.Call{Op: decorate.OpInit}.String(), "init"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
