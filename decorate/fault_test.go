package decorate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// faulty returns a fault around a store with one file, and the file's body.
func faulty(t *testing.T) (*decorate.Fault, *memory.ReplicaClient, []byte) {
	t.Helper()
	store := memory.NewReplicaClient()
	body := write(t, store, 0, 1, 1)
	return decorate.NewFault(store), store, body
}

// listed returns how many files a level has.
func listed(t *testing.T, c replica.Client, level int) int {
	t.Helper()
	infos, err := list(t.Context(), c, level, 0)
	if err != nil {
		t.Fatal(err)
	}
	return len(infos)
}

// A script run for k = 1, 2, ... meets a failure of each of its calls.
func TestFault_FailCall(t *testing.T) {
	f, _, _ := faulty(t)
	steps := []func() error{
		func() error { _, err := list(t.Context(), f, 0, 0); return err },
		func() error { _, err := read(t.Context(), f, 0, 1, 1, 0, 0); return err },
		func() error { return f.DeleteLTXFiles(t.Context(), nil) },
	}
	for k := 1; ; k++ {
		f.Reset()
		f.FailCall(k, errBoom)
		var errs []error
		for _, step := range steps {
			errs = append(errs, step())
		}
		if f.Calls() != len(steps) {
			t.Errorf("k=%d: %d calls counted, want %d", k, f.Calls(), len(steps))
		}
		if f.Faults() == 0 {
			if k != len(steps)+1 || errors.Join(errs...) != nil {
				t.Errorf("k=%d: no fault, errors %v", k, errs)
			}
			return
		}
		for i, err := range errs {
			if (i+1 == k) != errors.Is(err, errBoom) {
				t.Errorf("k=%d: call %d got error %v", k, i+1, err)
			}
		}
	}
}

func TestFault_MatchSkipTimes(t *testing.T) {
	f, _, _ := faulty(t)
	remove := f.Add(decorate.Rule{
		Match: func(c decorate.Call) bool { return c.Op == decorate.OpRead && c.Offset == 7 },
		Skip:  1,
		Times: 2,
		Err:   errBoom,
	})
	var failed []int
	for i := range 5 {
		if _, err := read(t.Context(), f, 0, 1, 1, 7, 0); err != nil {
			failed = append(failed, i)
		}
		must[[]byte](t)(read(t.Context(), f, 0, 1, 1, 8, 0))
		must[[]*ltx.FileInfo](t)(list(t.Context(), f, 0, 0))
	}
	if want := []int{1, 2}; !slices.Equal(failed, want) {
		t.Errorf("calls %v failed, want %v", failed, want)
	}
	remove()

	remove = f.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead, decorate.OpList), Err: errBoom})
	for range 3 {
		if _, err := read(t.Context(), f, 0, 1, 1, 0, 0); !errors.Is(err, errBoom) {
			t.Errorf("got error %v, want %v", err, errBoom)
		}
	}
	remove()
	remove()
	must[[]byte](t)(read(t.Context(), f, 0, 1, 1, 0, 0))
}

// The first rule with a failure decides.
func TestFault_Order(t *testing.T) {
	f, _, _ := faulty(t)
	var hooked []string
	hook := func(name string) func(decorate.Call) {
		return func(decorate.Call) { hooked = append(hooked, name) }
	}
	f.Add(decorate.Rule{Before: hook("first")})
	f.Add(decorate.Rule{Before: hook("second"), Err: errBoom})
	f.Add(decorate.Rule{Before: hook("third"), Err: io.ErrClosedPipe})
	if _, err := list(t.Context(), f, 0, 0); !errors.Is(err, errBoom) {
		t.Errorf("got error %v, want %v", err, errBoom)
	}
	if want := []string{"first", "second", "third"}; !slices.Equal(hooked, want) {
		t.Errorf("hooks were called as %v, want %v", hooked, want)
	}
}

func TestFault_InBody(t *testing.T) {
	for _, op := range []string{"read", "list", "list all", "write", "create"} {
		t.Run(op, func(t *testing.T) {
			f, store, body := faulty(t)
			write(t, store, 0, 2, 2)
			size := int64(2) // files
			call := func() (n int, err error) {
				itr, err := f.LTXFiles(t.Context(), 0, 0, false)
				if op == "list all" {
					itr, err = f.AllLTXFiles(t.Context(), false)
				}
				if err != nil {
					return 0, err
				}
				for itr.Next() {
					n++
				}
				err = itr.Err()
				if closeErr := itr.Close(); !errors.Is(closeErr, err) || itr.Item() != nil && err != nil {
					t.Errorf("Close gives %v, Err %v", closeErr, err)
				}
				return n, err
			}
			if op == "read" {
				size = int64(len(body))
				call = func() (int, error) {
					b, err := read(t.Context(), f, 0, 1, 1, 0, 0)
					if !bytes.HasPrefix(body, b) {
						t.Error("bytes before the cut are not those of the file")
					}
					return len(b), err
				}
			}
			if op == "write" || op == "create" {
				size = int64(len(body))
				store := f.WriteLTXFile
				if op == "create" {
					store = f.CreateLTXFile
				}
				call = func() (int, error) {
					r := bytes.NewReader(body)
					_, err := store(t.Context(), 3, 1, 1, r)
					return len(body) - r.Len(), err
				}
			}

			for _, n := range []int64{-1, 0, 1, size - 1, size} {
				f.Reset()
				f.Add(decorate.Rule{At: decorate.InBody, N: n, Err: errBoom})
				got, err := call()
				if !errors.Is(err, errBoom) || got != int(max(n, 0)) || f.Faults() != 1 {
					t.Errorf("cut after %d: got %d, error %v, %d faults", n, got, err, f.Faults())
				}
				if n := listed(t, store, 3); n != 0 {
					t.Errorf("%d files were stored", n)
				}
			}
			f.Reset()
			f.Add(decorate.Rule{At: decorate.InBody, N: size + 1, Err: errBoom})
			if got, err := call(); err != nil || got != int(size) || f.Faults() != 0 {
				t.Errorf("cut after the end: got %d, error %v, %d faults", got, err, f.Faults())
			}
		})
	}
}

// AtStart nothing happens; AtEnd it does, and the caller does not get to know.
func TestFault_Writes(t *testing.T) {
	for _, tt := range []struct {
		at   decorate.Point
		want int
	}{
		{decorate.AtStart, 0},
		{decorate.AtEnd, 1},
		{decorate.InBody, 0},
	} {
		f, store, body := faulty(t)
		f.Add(decorate.Rule{At: tt.at, Err: errBoom})
		info, err := f.WriteLTXFile(t.Context(), 3, 1, 1, bytes.NewReader(body))
		if info != nil || !errors.Is(err, errBoom) {
			t.Errorf("write: got %v, error %v", info, err)
		}
		if _, err := f.CreateLTXFile(t.Context(), 4, 1, 1, bytes.NewReader(body)); !errors.Is(err, errBoom) {
			t.Errorf("create: got error %v", err)
		}
		for _, level := range []int{3, 4} {
			if got := listed(t, store, level); got != tt.want {
				t.Errorf("point %d: %d files stored at level %d, want %d", tt.at, got, level, tt.want)
			}
		}
	}
}

func TestFault_Deletes(t *testing.T) {
	for at, want := range map[decorate.Point]int{decorate.AtStart: 1, decorate.AtEnd: 0} {
		f, store, _ := faulty(t)
		f.Add(decorate.Rule{At: at, Err: errBoom})
		if err := f.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}}); !errors.Is(err, errBoom) {
			t.Errorf("got error %v, want %v", err, errBoom)
		}
		if got := listed(t, store, 0); got != want {
			t.Errorf("point %d: %d files left, want %d", at, got, want)
		}
	}
}

// A lost reply of a read or a listing is closed within.
func TestFault_AtEndCloses(t *testing.T) {
	store := memory.NewReplicaClient()
	write(t, store, 0, 1, 1)
	trace := decorate.NewTrace(store)
	f := decorate.NewFault(trace)
	f.Add(decorate.Rule{At: decorate.AtEnd, Err: errBoom})
	for _, call := range []func() error{
		func() error { _, err := f.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0); return err },
		func() error { _, err := f.LTXFiles(t.Context(), 0, 0, false); return err },
		func() error { _, err := f.AllLTXFiles(t.Context(), false); return err },
	} {
		if err := call(); !errors.Is(err, errBoom) {
			t.Errorf("got error %v, want %v", err, errBoom)
		}
	}
	if got := trace.Counts(); got.Open != 0 || got.Reads != 1 || got.Lists != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestFault_Hang(t *testing.T) {
	for _, at := range []decorate.Point{decorate.AtStart, decorate.AtEnd, decorate.InBody} {
		synctest.Test(t, func(t *testing.T) {
			f, store, body := faulty(t)
			f.Add(decorate.Rule{At: at, Hang: true, N: 100})
			for name, call := range map[string]func(context.Context) error{
				"read": func(ctx context.Context) error { _, err := read(ctx, f, 0, 1, 1, 0, 0); return err },
				"write": func(ctx context.Context) error {
					_, err := f.WriteLTXFile(ctx, 3, 1, 1, bytes.NewReader(body))
					return err
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				got := took(func() {
					if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: got error %v, want context.DeadlineExceeded", name, err)
					}
				})
				cancel()
				wantTook(t, name, got, time.Minute)
			}
			want := 0
			if at == decorate.AtEnd {
				want = 1
			}
			if got := listed(t, store, 3); got != want {
				t.Errorf("point %d: %d files stored, want %d", at, got, want)
			}
		})
	}
}

// Hooks see the call and its error, and can hold it up.
func TestFault_Hooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, store, _ := faulty(t)
		gate := make(chan struct{})
		var seen []decorate.Call
		var after []error
		f.Add(decorate.Rule{
			Match:  decorate.Ops(decorate.OpDelete),
			Before: func(c decorate.Call) { seen = append(seen, c); <-gate },
			After:  func(_ decorate.Call, err error) { after = append(after, err) },
		})
		f.Add(decorate.Rule{Match: decorate.Ops(decorate.OpDelete), Skip: 1, Err: errBoom})

		done := make(chan error, 1)
		remove := func() {
			done <- f.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1, Size: 99}})
		}
		go remove()
		synctest.Wait()
		if got := listed(t, store, 0); got != 1 {
			t.Error("the file was deleted before the hook returned")
		}
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		remove()
		if err := <-done; !errors.Is(err, errBoom) {
			t.Errorf("got error %v, want %v", err, errBoom)
		}
		if len(after) != 2 || after[0] != nil || !errors.Is(after[1], errBoom) {
			t.Errorf("hook got errors %v", after)
		}
		if want := (ltx.FileInfo{MinTXID: 1, MaxTXID: 1}); len(seen) != 2 || len(seen[0].Files) != 1 || seen[0].Files[0] != want {
			t.Errorf("hook got calls %+v", seen)
		}
	})
}

// Rules may change while calls are made; with Times, exactly so many fail.
func TestFault_Concurrency(t *testing.T) {
	f, _, _ := faulty(t)
	const times, callers, calls = 37, 8, 20
	f.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: times, Err: errBoom})
	var mu sync.Mutex
	failed := 0
	var fs []func()
	for range callers {
		fs = append(fs, func() {
			for range calls {
				remove := f.Add(decorate.Rule{Match: decorate.Ops(decorate.OpList), Err: io.ErrClosedPipe})
				if _, err := read(t.Context(), f, 0, 1, 1, 0, 0); err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
				}
				remove()
			}
		})
	}
	concurrently(fs...)
	if failed != times || f.Faults() != times || f.Calls() != callers*calls {
		t.Errorf("%d of %d calls failed (%d faults), want %d of %d", failed, f.Calls(), f.Faults(), times, callers*calls)
	}
}
