package decorate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

var errBoom = errors.New("boom")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// full is a decorator as tests see it.
type full interface {
	replica.Client
	replica.Initializer
	replica.LTXFileCreator
	replica.AllLTXFilesLister
	Unwrap() replica.Client
}

// decorators make each of the decorators, and all of them.
var decorators = map[string]func(replica.Client) full{
	"trace": func(c replica.Client) full { return decorate.NewTrace(c) },
	"latency": func(c replica.Client) full {
		return decorate.NewLatency(c, decorate.Latency{PerRequest: 1, Jitter: 1, BytesPerSecond: 1e12, TotalBytesPerSecond: 1e12})
	},
	"fault": func(c replica.Client) full { return decorate.NewFault(c) },
	"all": func(c replica.Client) full {
		return decorate.NewTrace(decorate.NewLatency(decorate.NewFault(c), decorate.Latency{}))
	},
}

// plain has none of the optional interfaces.
type plain struct{ replica.Client }

// initialized has an Init that fails.
type initialized struct{ replica.Client }

func (initialized) Init(context.Context) error { return errBoom }

func TestConformance(t *testing.T) {
	for name, wrap := range decorators {
		t.Run(name, func(t *testing.T) {
			replicatest.Run(t, func(*testing.T) replica.Client {
				return wrap(memory.NewReplicaClient())
			}, replicatest.Properties{LargeBody: 1 << 20, ManyFiles: 50})
		})
	}
	t.Run("plain", func(t *testing.T) {
		replicatest.Run(t, func(*testing.T) replica.Client {
			return decorators["all"](plain{memory.NewReplicaClient()})
		}, replicatest.Properties{NoInit: true, NoCreate: true, NoListAll: true, NoSurvey: true, ManyFiles: -1, LargeBody: -1})
	})
}

func TestOptionalInterfaces(t *testing.T) {
	ctx := t.Context()
	for name, wrap := range decorators {
		t.Run(name, func(t *testing.T) {
			if err := wrap(plain{memory.NewReplicaClient()}).Init(ctx); err != nil {
				t.Errorf("Init without one within: %v", err)
			}
			if err := wrap(initialized{memory.NewReplicaClient()}).Init(ctx); !errors.Is(err, errBoom) {
				t.Errorf("Init with one within: got error %v, want %v", err, errBoom)
			}
		})
	}
}

func TestUnwrap(t *testing.T) {
	inner := memory.NewReplicaClient()
	for _, name := range []string{"trace", "latency", "fault"} {
		if got := decorators[name](inner).Unwrap(); got != inner {
			t.Errorf("%s: Unwrap gives %v, want the client within", name, got)
		}
	}
}

// What the client within lacks is not a call.
func TestUnsupportedIsNoCall(t *testing.T) {
	fault := decorate.NewFault(plain{memory.NewReplicaClient()})
	trace := decorate.NewTrace(decorate.NewLatency(fault, decorate.Latency{}))
	fault.Add(decorate.Rule{Err: errBoom})

	if err := trace.Init(t.Context()); err != nil {
		t.Errorf("Init: %v", err)
	}
	if _, err := trace.AllLTXFiles(t.Context(), false); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("AllLTXFiles: got error %v, want errors.ErrUnsupported", err)
	}
	r := bytes.NewReader(encode(t, 1, 1))
	if _, err := trace.CreateLTXFile(t.Context(), 0, 1, 1, r); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CreateLTXFile: got error %v, want errors.ErrUnsupported", err)
	}
	if n := len(trace.Events()); n != 0 {
		t.Errorf("%d events, want none", n)
	}
	if n := fault.Calls(); n != 0 {
		t.Errorf("%d calls, want none", n)
	}
}

func encode(t *testing.T, minTXID, maxTXID ltx.TXID) []byte {
	t.Helper()
	b, err := replicatest.FileSpec{MinTXID: minTXID, MaxTXID: maxTXID, Pages: 100}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write stores a file, and returns its body.
func write(t *testing.T, c replica.Client, level int, minTXID, maxTXID ltx.TXID) []byte {
	t.Helper()
	body := encode(t, minTXID, maxTXID)
	if _, err := c.WriteLTXFile(t.Context(), level, minTXID, maxTXID, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	return body
}

// read reads a range of a file and closes the body.
func read(ctx context.Context, c replica.Client, level int, minTXID, maxTXID ltx.TXID, offset, size int64) ([]byte, error) {
	r, err := c.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// list lists a level and closes the listing.
func list(ctx context.Context, c replica.Client, level int, seek ltx.TXID) ([]*ltx.FileInfo, error) {
	itr, err := c.LTXFiles(ctx, level, seek, false)
	if err != nil {
		return nil, err
	}
	return ltx.SliceFileIterator(itr)
}
