package sim

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// Fresh is the name of a client whose network is good whatever the weather.
const Fresh = "fresh"

// Client is the client of one process of a world. It is safe for concurrent use.
type Client struct {
	bucket  *Bucket
	name    string
	byLevel bool // it cannot list all levels at once

	dead chan struct{} // closed when the process dies
	once sync.Once     // closes dead

	mu struct {
		sync.Mutex
		stalled chan struct{} // closed when the process goes on; nil if it is not stalled
	}
}

var (
	_ replica.Client            = (*Client)(nil)
	_ replica.LTXFileCreator    = (*Client)(nil)
	_ replica.AllLTXFilesLister = (*Client)(nil)
	_ replica.Identifier        = (*Client)(nil)
	_ replica.Surveyor          = (*Client)(nil)
)

// Client returns the client of a process. The name tells it from all others, and
// decides what happens to its requests. With byLevel it cannot list all levels at
// once.
func (b *Bucket) Client(name string, byLevel bool) *Client {
	return &Client{bucket: b, name: name, byLevel: byLevel, dead: make(chan struct{})}
}

// Kill makes all calls fail, those that are under way as well. What these have sent
// may still arrive; a call that begins later sends nothing.
func (c *Client) Kill() { c.once.Do(func() { close(c.dead) }) }

func (c *Client) isDead() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

// Stall makes calls wait until go on is called: the process was stopped, or its
// network is gone.
func (c *Client) Stall() (goOn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stalled := make(chan struct{})
	c.mu.stalled = stalled
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(stalled)
		if c.mu.stalled == stalled {
			c.mu.stalled = nil
		}
	}
}

// ReplicaIdentity implements replica.Identifier.
func (c *Client) ReplicaIdentity() string { return "sim://bucket" }

// wait lets time pass. The error is that of ctx, or that of a process that is dead.
func (c *Client) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.dead:
	}
	c.mu.Lock()
	stalled := c.mu.stalled
	c.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-ctx.Done():
		case <-c.dead:
		}
	}
	if c.isDead() {
		return errDead
	}
	return ctx.Err()
}

// draw returns the random numbers of a call, and the weather.
func (c *Client) draw(call string) (*rand.Rand, Weather) {
	b := c.bucket
	name := c.name + " " + call
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.calls[name]++
	return NewRand(b.seed, fmt.Sprint(name, " ", b.mu.calls[name])), b.mu.weather
}

// do makes a call of the store. Changes says that the call changes the bucket: it
// may then arrive after its caller has given up, and twice. Work makes the call,
// with the random numbers that decide on its result.
func do[T any](ctx context.Context, c *Client, call string, changes bool, work func(ctx context.Context, rng *rand.Rand, cut int) (T, error)) (T, error) {
	result, err := c.attempts(ctx, call, changes, func(ctx context.Context, rng *rand.Rand, cut int) (any, error) { return work(ctx, rng, cut) })
	c.bucket.trace.Add("%s: %s: %s", c.name, call, outcome(err))
	if err != nil {
		var none T
		return none, fmt.Errorf("%s: %w", call, err)
	}
	return result.(T), nil
}

// outcome is an error for traces.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// lateAfterDeath is the longest time that a request takes whose process has died: its
// files may be merged and deleted by others meanwhile.
const lateAfterDeath = 20 * time.Minute

func (c *Client) attempts(ctx context.Context, call string, changes bool, work func(context.Context, *rand.Rand, int) (any, error)) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.isDead() {
		return nil, errDead // its goroutines may still run, and send nothing
	}
	rng, w := c.draw(call)
	if c.name == Fresh {
		return work(ctx, rng, 0)
	}
	travel, reply, more := latency(rng, w.Latency), latency(rng, w.Latency), latency(rng, 10*w.Latency)
	arrives, refused, repeated, late, lost := rng.IntN(2) == 0, chance(rng, w.Refuse), chance(rng, w.Repeat), chance(rng, w.Late), chance(rng, w.Lose)
	other := rand.New(rand.NewPCG(rng.Uint64(), 1)) // of an attempt on the side
	onItsWay := func(after time.Duration) {
		c.bucket.wire.Go(func() {
			time.Sleep(after)
			_, err := work(context.WithoutCancel(ctx), other, w.Cut)
			c.bucket.trace.Add("%s: %s, late: %s", c.name, call, outcome(err))
		})
	}
	if err := c.wait(ctx, travel); err != nil {
		if changes && arrives {
			if own := rand.New(rand.NewPCG(other.Uint64(), 2)); c.isDead() && own.IntN(2) == 0 {
				more = latency(own, lateAfterDeath)
			}
			onItsWay(more)
		}
		return nil, err
	}
	if refused {
		return nil, errUnavailable
	}
	if changes && late {
		onItsWay(more)
	}
	result, err := work(ctx, rng, w.Cut)
	if changes && repeated && err == nil {
		if err := c.wait(ctx, more); err != nil {
			return nil, err
		}
		result, err = work(ctx, rng, w.Cut)
	}
	if werr := c.wait(ctx, reply); werr != nil {
		return nil, werr
	}
	if lost {
		return nil, errLost
	}
	return result, err
}

// LTXFiles implements replica.Client.
func (c *Client) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := clientio.CheckLevel(level); err != nil {
		return nil, err
	}
	return do(ctx, c, fmt.Sprintf("list %d from %d", level, seek), false, func(_ context.Context, rng *rand.Rand, cut int) (ltx.FileIterator, error) {
		return c.list(ctx, []int{level}, seek, useMetadata, rng, cut)
	})
}

// AllLTXFiles implements replica.AllLTXFilesLister. Levels are listed in any order,
// one after the other, while others write and delete.
func (c *Client) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	if c.byLevel {
		return nil, errUnsupported
	}
	return do(ctx, c, "list all", false, func(_ context.Context, rng *rand.Rand, cut int) (ltx.FileIterator, error) {
		levels := allLevels()
		rng.Shuffle(len(levels), func(i, j int) { levels[i], levels[j] = levels[j], levels[i] })
		return c.list(ctx, levels, 0, useMetadata, rng, cut)
	})
}

// list lists some levels one after the other.
func (c *Client) list(ctx context.Context, levels []int, seek ltx.TXID, useMetadata bool, rng *rand.Rand, cut int) (ltx.FileIterator, error) {
	var items []*versioned
	for i, level := range levels {
		if i > 0 && cut > 0 && chance(rng, 300) {
			if err := c.wait(ctx, latency(rng, 100*time.Millisecond)); err != nil {
				return nil, err
			}
		}
		more, err := c.bucket.list(ctx, []int{level}, seek)
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	if !useMetadata {
		c.bucket.date(items)
	}
	items = slices.DeleteFunc(items, func(v *versioned) bool { return c.bucket.isHidden(c.name, keyOf(&v.FileInfo)) })
	slices.SortStableFunc(items, func(a, b *versioned) int { return a.Level - b.Level })
	itr := &iterator{ctx: ctx, items: items}
	if chance(rng, cut) {
		itr.items, itr.end = items[:rng.IntN(len(items)+1)], errCut
	}
	return itr, nil
}

// iterator is a listing.
type iterator struct {
	ctx   context.Context
	items []*versioned // those that are left
	item  *ltx.FileInfo
	end   error // that comes after the items
	err   error
}

// Next implements ltx.FileIterator.
func (i *iterator) Next() bool {
	i.item = nil
	if i.err != nil {
		return false
	}
	if i.err = i.ctx.Err(); i.err != nil {
		return false
	}
	if len(i.items) == 0 {
		i.err = i.end
		return false
	}
	i.item = &i.items[0].FileInfo
	clientio.NoteVersion(i.ctx, i.item, i.items[0].version)
	i.items = i.items[1:]
	return true
}

// Item implements ltx.FileIterator.
func (i *iterator) Item() *ltx.FileInfo { return i.item }

// Err implements ltx.FileIterator.
func (i *iterator) Err() error { return i.err }

// Close implements ltx.FileIterator. It returns what Err returns.
func (i *iterator) Close() error {
	i.items, i.item = nil, nil
	return i.err
}

// OpenLTXFile implements replica.Client.
func (c *Client) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	k := fileKey{level, minTXID, maxTXID}
	return do(ctx, c, fmt.Sprintf("read %s, %d bytes from %d", k, size, offset), false, func(ctx context.Context, rng *rand.Rand, cut int) (io.ReadCloser, error) {
		if c.bucket.isHidden(c.name, k) {
			return nil, errGone(k)
		}
		b, err := c.bucket.read(ctx, k, offset, size)
		if err != nil {
			return nil, err
		}
		r := &body{ctx: ctx, client: c, rest: b, end: io.EOF, pause: 0}
		if chance(rng, cut) {
			r.rest, r.end = b[:rng.IntN(len(b)+1)], errCut
		}
		if cut > 0 {
			r.pause = latency(rng, 50*time.Millisecond)
		}
		return r, nil
	})
}

// body is the body of a file on its way.
type body struct {
	ctx    context.Context
	client *Client
	rest   []byte
	end    error         // that comes after the bytes
	pause  time.Duration // before the first byte; 0: none
}

// Read implements io.Reader.
func (r *body) Read(p []byte) (int, error) {
	if r.pause > 0 {
		pause := r.pause
		r.pause = 0
		if err := r.client.wait(r.ctx, pause); err != nil {
			return 0, err
		}
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.rest) == 0 {
		return 0, r.end
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (r *body) Close() error { return nil }

// WriteLTXFile implements replica.Client.
func (c *Client) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return c.put(ctx, "write", fileKey{level, minTXID, maxTXID}, r, false)
}

// CreateLTXFile implements replica.LTXFileCreator.
func (c *Client) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return c.put(ctx, "create", fileKey{level, minTXID, maxTXID}, r, true)
}

func (c *Client) put(ctx context.Context, op string, k fileKey, r io.Reader, create bool) (*ltx.FileInfo, error) {
	body, err := io.ReadAll(clientio.NewReader(ctx, r))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", op, k, err)
	}
	return do(ctx, c, fmt.Sprintf("%s %s", op, k), true, func(ctx context.Context, _ *rand.Rand, _ int) (*ltx.FileInfo, error) {
		return c.bucket.put(ctx, k, body, create)
	})
}

// DeleteLTXFiles implements replica.Client.
func (c *Client) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	infos := make([]*ltx.FileInfo, len(a))
	names := make([]string, len(a))
	for i, info := range a {
		if err := clientio.CheckInfo(info); err != nil {
			return err
		}
		infos[i] = &ltx.FileInfo{Level: info.Level, MinTXID: info.MinTXID, MaxTXID: info.MaxTXID}
		names[i] = keyOf(info).String()
	}
	_, err := do(ctx, c, fmt.Sprint("delete ", names), true, func(ctx context.Context, rng *rand.Rand, cut int) (struct{}, error) {
		n := -1
		if chance(rng, cut) && len(infos) > 0 {
			n = rng.IntN(len(infos))
		}
		return struct{}{}, c.bucket.delete(ctx, infos, n)
	})
	return err
}

// Survey implements replica.Surveyor.
func (c *Client) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	return do(ctx, c, "survey "+dir, false, func(ctx context.Context, _ *rand.Rand, _ int) (replica.Survey, error) {
		return c.bucket.files.Survey(ctx, dir)
	})
}
