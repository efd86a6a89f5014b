package sftp

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// busy is the number of calls on each connection from which on another
	// connection is made.
	busy = 8

	// growPause is for how long no further connection is tried after one failed:
	// servers limit the number for each user.
	growPause = 30 * time.Second
)

// pool is the connections of a client.
type pool struct {
	limit int
	dial  func(context.Context) (*link, error)
	first clientio.Flight[*link] // the connection that callers wait for

	mu struct {
		sync.Mutex           // held for no I/O
		links      []*link   // those that work
		growing    *growth   // nil if no further connection is being made
		noGrowth   time.Time // when a further connection may be tried
	}
}

// growth is the making of a connection that no caller waits for.
type growth struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func newPool(limit int, dial func(context.Context) (*link, error)) *pool {
	return &pool{limit: limit, dial: dial}
}

// get returns the connection with the fewest calls, for one call more. The caller
// gives it back with release.
func (p *pool) get(ctx context.Context) (*link, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if l := p.pick(); l != nil {
			return l, nil
		}
		if _, err := p.first.Do(ctx, p.connect); err != nil {
			return nil, err
		}
	}
}

// connect makes a connection and adds it.
func (p *pool) connect(ctx context.Context) (*link, error) {
	l, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	l.gone = func() { p.remove(l) }
	p.mu.Lock()
	p.mu.links = append(p.mu.links, l)
	p.mu.Unlock()
	l.watch()
	return l, nil
}

// pick returns the connection with the fewest calls, or nil.
func (p *pool) pick() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.links) == 0 {
		return nil
	}
	l := slices.MinFunc(p.mu.links, func(a, b *link) int { return int(a.calls.Load() - b.calls.Load()) })
	if l.calls.Add(1) > busy && len(p.mu.links) < p.limit && p.mu.growing == nil && time.Now().After(p.mu.noGrowth) {
		ctx, cancel := context.WithCancel(context.Background())
		p.mu.growing = &growth{cancel: cancel, done: make(chan struct{})}
		go p.grow(ctx, p.mu.growing)
	}
	return l
}

// grow makes a further connection. It is not missed if that fails.
func (p *pool) grow(ctx context.Context, g *growth) {
	_, err := p.connect(ctx)
	p.mu.Lock()
	p.mu.growing = nil
	if err != nil {
		p.mu.noGrowth = time.Now().Add(growPause)
	}
	p.mu.Unlock()
	g.cancel()
	close(g.done)
}

// remove forgets a connection that has ended.
func (p *pool) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.links = slices.DeleteFunc(p.mu.links, func(other *link) bool { return other == l })
}

// close ends all connections, and returns when nothing uses them any more.
func (p *pool) close() {
	p.mu.Lock()
	g := p.mu.growing
	p.mu.Unlock()
	if g != nil {
		g.cancel()
		<-g.done
	}
	p.mu.Lock()
	links := slices.Clone(p.mu.links)
	p.mu.Unlock()
	for _, l := range links {
		l.close()
	}
	for _, l := range links {
		l.wait()
	}
}
