package decorate

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

// Latency says how slow a [LatencyClient] is. The zero value adds no delay.
type Latency struct {
	// PerRequest is the time that a call waits before it does anything else,
	// which is the time to the first byte. Zero or less: no wait. Every call is
	// one request, including a listing of any length and a deletion of any
	// number of files.
	PerRequest time.Duration

	// Jitter bounds a random time that is added to PerRequest. It is spread
	// evenly from zero to the bound. Zero or less: nothing is added.
	Jitter time.Duration

	// Seed seeds Jitter. Calls one after the other wait for the same times in
	// every run.
	Seed uint64

	// BytesPerSecond is the rate of each single body that is read or written.
	// Zero or less: no limit.
	BytesPerSecond float64

	// TotalBytesPerSecond is the rate of all bodies together. Zero or less: no
	// limit.
	TotalBytesPerSecond float64
}

// LatencyClient is a client that delays the calls and bodies of the inner
// client. When the context is done, it stops waiting and fails with the
// context's error. It is safe for concurrent use.
type LatencyClient struct {
	decorator
	latency Latency
	total   *pacer

	mu struct {
		sync.Mutex
		rng *rand.Rand
	}
}

var (
	_ replica.Client            = (*LatencyClient)(nil)
	_ replica.Initializer       = (*LatencyClient)(nil)
	_ replica.LTXFileCreator    = (*LatencyClient)(nil)
	_ replica.AllLTXFilesLister = (*LatencyClient)(nil)
	_ replica.Surveyor          = (*LatencyClient)(nil)
)

// NewLatency returns a client that is as slow as inner or as l says, whichever
// is slower.
func NewLatency(inner replica.Client, l Latency) *LatencyClient {
	c := &LatencyClient{
		decorator: decorator{inner},
		latency:   l,
		total:     newPacer(l.TotalBytesPerSecond),
	}
	c.mu.rng = rand.New(rand.NewPCG(l.Seed, 0))
	return c
}

// Init implements replica.Initializer.
func (c *LatencyClient) Init(ctx context.Context) error {
	if !c.supports(OpInit) {
		return nil
	}
	if err := c.request(ctx, OpInit); err != nil {
		return err
	}
	return c.init(ctx)
}

// LTXFiles implements replica.Client.
func (c *LatencyClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := c.request(ctx, OpList); err != nil {
		return nil, err
	}
	return c.inner.LTXFiles(ctx, level, seek, useMetadata)
}

// AllLTXFiles implements replica.AllLTXFilesLister.
func (c *LatencyClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if !c.supports(OpListAll) {
		return nil, unsupported(OpListAll)
	}
	if err := c.request(ctx, OpListAll); err != nil {
		return nil, err
	}
	return c.listAll(ctx, useMetadata)
}

// Survey implements replica.Surveyor.
func (c *LatencyClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	if !c.supports(OpSurvey) {
		return replica.Survey{}, unsupported(OpSurvey)
	}
	if err := c.request(ctx, OpSurvey); err != nil {
		return replica.Survey{}, err
	}
	return c.survey(ctx, dir)
}

// OpenLTXFile implements replica.Client.
func (c *LatencyClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if err := c.request(ctx, OpRead); err != nil {
		return nil, err
	}
	body, err := c.inner.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, err
	}
	return readCloser{c.pace(ctx, body), body}, nil
}

// WriteLTXFile implements replica.Client.
func (c *LatencyClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return c.delayedPut(ctx, OpWrite, level, minTXID, maxTXID, r)
}

// CreateLTXFile implements replica.LTXFileCreator.
func (c *LatencyClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if !c.supports(OpCreate) {
		return nil, unsupported(OpCreate)
	}
	return c.delayedPut(ctx, OpCreate, level, minTXID, maxTXID, r)
}

func (c *LatencyClient) delayedPut(ctx context.Context, op Op, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if err := c.request(ctx, op); err != nil {
		return nil, err
	}
	return c.put(ctx, op, level, minTXID, maxTXID, c.pace(ctx, r))
}

// DeleteLTXFiles implements replica.Client.
func (c *LatencyClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	if err := c.request(ctx, OpDelete); err != nil {
		return err
	}
	return c.inner.DeleteLTXFiles(ctx, a)
}

// request waits for the latency of a request.
func (c *LatencyClient) request(ctx context.Context, op Op) error {
	d := max(c.latency.PerRequest, 0)
	if c.latency.Jitter > 0 {
		c.mu.Lock()
		d += time.Duration(c.mu.rng.Int64N(int64(c.latency.Jitter)))
		c.mu.Unlock()
	}
	if err := sleep(ctx, d); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// pace returns a reader of r with the rate limits of a stream.
func (c *LatencyClient) pace(ctx context.Context, r io.Reader) io.Reader {
	return &pacedReader{ctx: ctx, r: r, own: newPacer(c.latency.BytesPerSecond), total: c.total}
}

// readCloser is a body whose Read is that of a decorator.
type readCloser struct {
	io.Reader
	io.Closer
}
