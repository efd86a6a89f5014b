package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

// AnswerTest describes a store to the tests of its answers.
type AnswerTest struct {
	Service Service

	// Key returns the name of an object.
	Key func(level int, minTXID, maxTXID ltx.TXID) string

	// NewClient returns a client of a replica in the bucket Bucket of a server.
	// The client stores more than LargeBody bytes in parts.
	NewClient func(t testing.TB, url string) replica.Client
	LargeBody int

	// Natural returns the status of the store's answer to a request that
	// succeeds.
	Natural func(r *http.Request) int
}

// operation is a call of a client, or several calls that belong together.
type operation struct {
	name string
	run  func(ctx context.Context, c replica.Client) error

	// done returns what is wrong after run has succeeded. It may be nil.
	done func() error
}

// answerServer is a server that answers as the service does, except for the
// k-th request.
type answerServer struct {
	*httptest.Server
	wrong    atomic.Pointer[func(w http.ResponseWriter, r *http.Request)]
	at       atomic.Int64 // number of the request that gets the wrong answer, from 1
	requests atomic.Int64
}

func newAnswerServer(t testing.TB, service Service) *answerServer {
	s := &answerServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.requests.Add(1) == s.at.Load() {
			_, _ = io.Copy(io.Discard, r.Body)
			(*s.wrong.Load())(w, r)
			return
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// aim makes the server answer the k-th request from now on with wrong.
func (s *answerServer) aim(k int64, wrong func(http.ResponseWriter, *http.Request)) {
	s.wrong.Store(&wrong)
	s.at.Store(k)
	s.requests.Store(0)
}

// files are the LTX files that exist before each operation, by level and TXID.
type files struct {
	at    AnswerTest
	small []byte // 0/1-1
	other []byte // 0/2-2
	fresh []byte // 0/3-3, which does not exist
	large []byte // 0/3-3, stored in parts
}

func newFiles(t testing.TB, at AnswerTest) *files {
	encode := func(txid ltx.TXID, pages int) []byte {
		b, err := replicatest.FileSpec{MinTXID: txid, MaxTXID: txid, Timestamp: stored, PageSize: 4096, Pages: pages, Seed: uint64(txid)}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	large := encode(3, 1)
	large = append(large, make([]byte, at.LargeBody+1000-len(large))...)
	return &files{at: at, small: encode(1, 1), other: encode(2, 1), fresh: encode(3, 1), large: large}
}

// reset restores the objects of the service to those before an operation.
func (f *files) reset() {
	f.at.Service.Set(map[string][]byte{f.at.Key(0, 1, 1): f.small, f.at.Key(0, 2, 2): f.other})
}

// read returns an operation that reads a range of a file.
func (f *files) read(name string, offset, size int64) operation {
	end := int64(len(f.small))
	if size > 0 {
		end = min(end, offset+size)
	}
	want := f.small[min(offset, end):end]
	return operation{name: name, run: func(ctx context.Context, c replica.Client) error {
		r, err := c.OpenLTXFile(ctx, 0, 1, 1, offset, size)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err == nil && !bytes.Equal(got, want) {
			return fmt.Errorf("%w: read %d bytes that are not those of the file", errWrong, len(got))
		}
		return err
	}}
}

// errWrong is the error of operations that succeed with a wrong result.
var errWrong = errors.New("wrong success")

// list returns an operation that lists the two files.
func list(name string, open func(context.Context, replica.Client) (ltx.FileIterator, error)) operation {
	return operation{name: name, run: func(ctx context.Context, c replica.Client) error {
		itr, err := open(ctx, c)
		if err != nil {
			return err
		}
		infos, err := ltx.SliceFileIterator(itr)
		if err = errors.Join(err, itr.Close()); err != nil {
			return err
		}
		if len(infos) != 2 || infos[0].MaxTXID != 1 || infos[1].MaxTXID != 2 || infos[0].Size == 0 {
			return fmt.Errorf("%w: listed %d files", errWrong, len(infos))
		}
		for _, info := range infos {
			if !info.CreatedAt.Equal(stored) {
				return fmt.Errorf("%w: file is of %s", errWrong, info.CreatedAt)
			}
		}
		return nil
	}}
}

// write returns an operation that stores body as 0/3-3.
func (f *files) write(name string, body []byte, create bool) operation {
	return operation{name: name, run: func(ctx context.Context, c replica.Client) error {
		store := c.WriteLTXFile
		if create {
			store = c.(replica.LTXFileCreator).CreateLTXFile
		}
		_, err := store(ctx, 0, 3, 3, bytes.NewReader(body))
		return err
	}, done: func() error {
		if got, _ := f.at.Service.Get(f.at.Key(0, 3, 3)); !bytes.Equal(got, body) {
			return fmt.Errorf("stored are %d bytes of %d", len(got), len(body))
		}
		return nil
	}}
}

// remove returns an operation that deletes files.
func (f *files) remove(name string, txids ...ltx.TXID) operation {
	return operation{name: name, run: func(ctx context.Context, c replica.Client) error {
		var infos []*ltx.FileInfo
		for _, txid := range txids {
			infos = append(infos, &ltx.FileInfo{MinTXID: txid, MaxTXID: txid})
		}
		return c.DeleteLTXFiles(ctx, infos)
	}, done: func() error {
		for _, txid := range txids {
			if _, ok := f.at.Service.Get(f.at.Key(0, txid, txid)); ok {
				return fmt.Errorf("%s is still there", txid)
			}
		}
		return nil
	}}
}

func (f *files) operations() []operation {
	return []operation{
		list("list", func(ctx context.Context, c replica.Client) (ltx.FileIterator, error) {
			return c.LTXFiles(ctx, 0, 0, false)
		}),
		list("list from", func(ctx context.Context, c replica.Client) (ltx.FileIterator, error) {
			return c.LTXFiles(ctx, 0, 1, false)
		}),
		list("list with metadata", func(ctx context.Context, c replica.Client) (ltx.FileIterator, error) {
			return c.LTXFiles(ctx, 0, 0, true)
		}),
		list("list all", func(ctx context.Context, c replica.Client) (ltx.FileIterator, error) {
			return c.(replica.AllLTXFilesLister).AllLTXFiles(ctx, false)
		}),
		f.read("read all", 0, 0),
		f.read("read the beginning", 0, 100),
		f.read("read as much as there is", 0, int64(len(f.small))),
		f.read("read more than there is", 0, 1<<20),
		f.read("read the middle", 50, 20),
		f.read("read the tail", int64(len(f.small))-16, 0),
		f.write("write", f.fresh, false),
		f.write("create", f.fresh, true),
		f.write("write in parts", f.large, false),
		f.write("create in parts", f.large, true),
		f.remove("delete one", 1),
		f.remove("delete two", 1, 2),
	}
}

// each runs every operation of a client against a server whose k-th answer is
// one of the answers, for every k. It calls check with the result.
func (at AnswerTest) each(t *testing.T, answers []WrongAnswer, send func(w http.ResponseWriter, r *http.Request, a WrongAnswer, status int),
	statuses func(r *http.Request) []int, check func(t *testing.T, a WrongAnswer, err error),
) {
	server := newAnswerServer(t, at.Service)
	f := newFiles(t, at)
	client := at.NewClient(t, server.URL)
	for _, op := range f.operations() {
		t.Run(op.name, func(t *testing.T) {
			f.reset()
			server.aim(0, nil)
			if err := op.run(t.Context(), client); err != nil {
				t.Fatalf("without a wrong answer: %v", err)
			}
			if op.done != nil && op.done() != nil {
				t.Fatalf("without a wrong answer: %v", op.done())
			}
			needed := server.requests.Load()
			for _, a := range answers {
				for k := int64(1); k <= needed; k++ {
					for variant := 0; ; variant++ {
						f.reset()
						var more atomic.Bool
						server.aim(k, func(w http.ResponseWriter, r *http.Request) {
							all := statuses(r)
							more.Store(variant+1 < len(all))
							send(w, r, a, all[variant])
						})
						// A new client does not know what another one has
						// learnt about the server.
						c := at.NewClient(t, server.URL)
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						err := op.run(ctx, c)
						cancel()
						if err == nil && op.done != nil && op.done() != nil {
							err = fmt.Errorf("%w: %w", errWrong, op.done())
						}
						if server.requests.Load() < k {
							break // the operation made fewer than k requests
						}
						check(t, a, err)
						if t.Failed() {
							t.Fatalf("%s as answer %d of %d", a.Name, k, needed)
						}
						if !more.Load() {
							break
						}
					}
				}
			}
		})
	}
}

// oneWithRace returns the first of several kinds of answers with the race detector, which
// sees the same calls with each of them, and all without it.
func oneWithRace[T any](all []T) []T {
	if testscale.Race {
		return all[:1]
	}
	return all
}

// RunWrongAnswers checks that no operation of a client succeeds with an answer
// that does not come from the store, or that belongs to another request. The
// error must be transient and show the answer.
func RunWrongAnswers(t *testing.T, at AnswerTest) {
	statuses := func(r *http.Request) []int {
		if natural := at.Natural(r); natural != http.StatusOK && natural != http.StatusNoContent {
			return []int{http.StatusOK, natural}
		}
		return []int{http.StatusOK}
	}
	send := func(w http.ResponseWriter, _ *http.Request, a WrongAnswer, status int) { a.send(w, status) }
	at.each(t, oneWithRace(WrongAnswers()), send, statuses, func(t *testing.T, _ WrongAnswer, err error) {
		t.Helper()
		var permanent interface{ Permanent() bool }
		switch {
		case errors.Is(err, errWrong):
			t.Error(err)
		case err != nil && errors.As(err, &permanent) && permanent.Permanent():
			t.Errorf("error is permanent: %v", err)
		case err != nil && len(err.Error()) > 1000:
			t.Errorf("error is too long: %v", err)
		}
	})
}

// RunWrongRefusals checks that a refusal by another server than the store does
// not make a client believe that a file is missing, exists already or ends
// earlier.
func RunWrongRefusals(t *testing.T, at AnswerTest) {
	testscale.NeedsNoRace(t, "RunWrongAnswers makes the same calls")
	var pages []WrongAnswer
	for _, a := range WrongAnswers() {
		if strings.HasPrefix(a.Header["Content-Type"], "text/html") && a.Header["Content-Range"] == "" {
			pages = append(pages, a)
		}
	}
	statuses := func(*http.Request) []int { return []int{404, 409, 410, 412, 416} }
	send := func(w http.ResponseWriter, _ *http.Request, a WrongAnswer, status int) { a.send(w, status) }
	at.each(t, pages, send, statuses, func(t *testing.T, a WrongAnswer, err error) {
		t.Helper()
		if errors.Is(err, errWrong) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			t.Error(err)
		}
	})
}

// endless sends answers that never end, and counts the bytes that it has sent.
type endless struct{ sent atomic.Int64 }

// send answers without an end, after a correct beginning.
func (e *endless) send(w http.ResponseWriter, r *http.Request, begin string, status int) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amz-Request-Id", "r")
	w.Header().Set("X-Ms-Request-Id", "r")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return // its answer ends with the header
	}
	chunk := bytes.Repeat([]byte(begin), (64<<10)/len(begin))
	for {
		n, err := w.Write(chunk)
		e.sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// sockets is the greatest number of bytes in flight between client and server.
const sockets = 16 << 20

// RunEndlessAnswers checks that answers without an end, with any status, cost a
// client at most limit bytes of network traffic and of memory.
func RunEndlessAnswers(t *testing.T, at AnswerTest, limit int64) {
	bodies := oneWithRace([]WrongAnswer{{Name: "endless text", Body: "<Message>endless"}, {Name: "endless white space", Body: " "}})
	var e endless
	statuses := func(r *http.Request) []int {
		all := []int{http.StatusOK, http.StatusForbidden, http.StatusInternalServerError}
		if natural := at.Natural(r); natural != http.StatusOK && natural != http.StatusNoContent {
			all = append(all, natural)
		}
		return oneWithRace(all)
	}
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	send := func(w http.ResponseWriter, r *http.Request, a WrongAnswer, status int) {
		e.sent.Store(0)
		runtime.ReadMemStats(&before)
		e.send(w, r, a.Body, status)
	}
	at.each(t, bodies, send, statuses, func(t *testing.T, _ WrongAnswer, err error) {
		t.Helper()
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		if errors.Is(err, errWrong) {
			t.Error(err)
		}
		if sent := e.sent.Load(); sent > limit+sockets {
			t.Errorf("server could send %d MiB, want at most %d: %v", sent>>20, (limit+sockets)>>20, err)
		}
		if used := int64(after.TotalAlloc - before.TotalAlloc); used > 8*limit+sockets {
			t.Errorf("answer took %d MiB of memory, want at most %d: %v", used>>20, (8*limit+sockets)>>20, err)
		}
	})
}

// EndlessServer returns the URL of a server whose answers do not end, and a
// check that one of these answers costs a client at most a few MiB.
func EndlessServer(t testing.TB) (url string, check func(err error)) {
	const most = 4<<20 + sockets
	var e endless
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("Metadata-Flavor", "Google")
		e.send(w, r, `{"access_token": "`, http.StatusOK)
	}))
	t.Cleanup(server.Close)
	return server.URL, func(err error) {
		t.Helper()
		n, sent := requests.Load(), e.sent.Load()
		if err == nil || n == 0 || sent > n*most {
			t.Errorf("server could send %d MiB with %d answers: %v", sent>>20, n, err)
		}
	}
}
