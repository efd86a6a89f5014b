package badbytes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// Mode says which requests succeed.
type Mode int

// The modes of a store.
const (
	Online   Mode = iota // all
	ReadOnly             // those that read
	Offline              // none
)

// Client is a store of any bytes under the names of LTX files. Other stores refuse
// files that do not begin with the header of their name. It is safe for concurrent
// use.
type Client struct {
	// bodies are buffers for files that are written. Tests limit what the library
	// allocates, and writes that fail for an hour are not to count.
	bodies sync.Pool

	mu struct {
		sync.Mutex
		files Replica
		mode  Mode
	}
}

var (
	_ replica.Client            = (*Client)(nil)
	_ replica.LTXFileCreator    = (*Client)(nil)
	_ replica.AllLTXFilesLister = (*Client)(nil)
	_ replica.Identifier        = (*Client)(nil)
)

// NewClient returns a store with the files of a replica.
func NewClient(r Replica) *Client {
	c := &Client{}
	c.mu.files = r.Clone()
	return c
}

// Set replaces all files.
func (c *Client) Set(r Replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.files = r.Clone()
}

// SetMode changes which later requests succeed.
func (c *Client) SetMode(mode Mode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.mode = mode
}

// Files returns a copy of what the store has.
func (c *Client) Files() Replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.files.Clone()
}

// begin locks the store for a request, which fails from a mode on.
func (c *Client) begin(ctx context.Context, failsFrom Mode) (end func(), err error) {
	c.mu.Lock()
	if err = ctx.Err(); err == nil && c.mu.mode >= failsFrom {
		err = errOffline
	}
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	return c.mu.Unlock, nil
}

var errOffline = errors.New("the store does not answer")

// ReplicaIdentity implements replica.Identifier.
func (c *Client) ReplicaIdentity() string { return "badbytes://replica" }

// LTXFiles implements replica.Client.
func (c *Client) LTXFiles(ctx context.Context, level int, seek ltx.TXID, _ bool) (ltx.FileIterator, error) {
	return c.list(ctx, func(key view.Key) bool { return key.Level == level && key.MinTXID >= seek })
}

// AllLTXFiles implements replica.AllLTXFilesLister.
func (c *Client) AllLTXFiles(ctx context.Context, _ bool) (ltx.FileIterator, error) {
	return c.list(ctx, func(view.Key) bool { return true })
}

func (c *Client) list(ctx context.Context, accept func(view.Key) bool) (ltx.FileIterator, error) {
	end, err := c.begin(ctx, Offline)
	if err != nil {
		return nil, err
	}
	defer end()
	var infos []*ltx.FileInfo
	for _, key := range c.mu.files.Keys() {
		if accept(key) {
			infos = append(infos, &ltx.FileInfo{Level: key.Level, MinTXID: key.MinTXID, MaxTXID: key.MaxTXID, Size: int64(len(c.mu.files[key]))})
		}
	}
	return ltx.NewFileInfoSliceIterator(infos), nil
}

// OpenLTXFile implements replica.Client.
func (c *Client) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	end, err := c.begin(ctx, Offline)
	if err != nil {
		return nil, err
	}
	defer end()
	body, ok := c.mu.files[view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if offset < 0 || size < 0 {
		return nil, fmt.Errorf("%d bytes at %d: %w", size, offset, fs.ErrInvalid)
	}
	body = body[min(offset, int64(len(body))):]
	if size > 0 {
		body = body[:min(size, int64(len(body)))]
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

// WriteLTXFile implements replica.Client.
func (c *Client) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return c.write(ctx, view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, r, false)
}

// CreateLTXFile implements replica.LTXFileCreator.
func (c *Client) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return c.write(ctx, view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, r, true)
}

func (c *Client) write(ctx context.Context, key view.Key, r io.Reader, create bool) (*ltx.FileInfo, error) {
	buf, ok := c.bodies.Get().(*bytes.Buffer)
	if !ok {
		buf = new(bytes.Buffer)
	}
	defer c.bodies.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, err
	}
	end, err := c.begin(ctx, ReadOnly)
	if err != nil {
		return nil, err
	}
	defer end()
	if _, ok := c.mu.files[key]; ok && create {
		return nil, fs.ErrExist
	}
	c.mu.files[key] = bytes.Clone(buf.Bytes())
	return &ltx.FileInfo{Level: key.Level, MinTXID: key.MinTXID, MaxTXID: key.MaxTXID, Size: int64(buf.Len())}, nil
}

// DeleteLTXFiles implements replica.Client.
func (c *Client) DeleteLTXFiles(ctx context.Context, infos []*ltx.FileInfo) error {
	end, err := c.begin(ctx, ReadOnly)
	if err != nil {
		return err
	}
	defer end()
	for _, info := range infos {
		delete(c.mu.files, view.KeyOf(info))
	}
	return nil
}
