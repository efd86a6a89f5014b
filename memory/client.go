// Package memory keeps the LTX files of a replica in memory. It is the
// reference implementation of replica.Client, for tests. It has no latency and
// never fails by itself; package decorate adds both.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// ReplicaClient implements replica.Client, replica.LTXFileCreator,
// replica.AllLTXFilesLister and replica.Surveyor in memory. The zero value is an empty replica. All
// methods are safe for concurrent use. A ReplicaClient must not be copied.
//
// A listing shows the files, and an open body shows the content, at the time of
// the call, whatever is written or deleted meanwhile. Each write gives a file
// another version, see replica.FileVersion.
//
// A level outside 0 to 9, a negative offset or size, and a body that does not
// begin with a valid LTX header of the file's name give an error that wraps
// fs.ErrInvalid.
type ReplicaClient struct {
	mu struct {
		sync.Mutex                                 // held for no I/O
		levels     [clientio.MaxLevel + 1][]stored // each in order of compare
		writes     uint64                          // number of writes so far
	}
}

// stored is one LTX file. Its body never changes.
type stored struct {
	minTXID, maxTXID ltx.TXID
	createdAt        time.Time
	body             []byte
	version          string // no other file has ever had it
}

// NewReplicaClient returns an empty replica.
func NewReplicaClient() *ReplicaClient { return &ReplicaClient{} }

// LTXFiles implements replica.Client. CreatedAt is the timestamp of the LTX
// header, with or without useMetadata.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, _ bool) (ltx.FileIterator, error) {
	err := ctx.Err()
	if err == nil {
		err = clientio.CheckLevel(level)
	}
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	return &iterator{ctx: ctx, files: c.files(level, seek)}, nil
}

// AllLTXFiles implements replica.AllLTXFilesLister.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, _ bool) (ltx.FileIterator, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list all levels: %w", err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	var files []listed
	for level := range c.mu.levels {
		files = append(files, c.files(level, 0)...)
	}
	return &iterator{ctx: ctx, files: files}, nil
}

// listed is a file at the time of a listing.
type listed struct {
	info    ltx.FileInfo
	version string
}

// files returns the files of a level with MinTXID >= seek. The caller holds
// c.mu.
func (c *ReplicaClient) files(level int, seek ltx.TXID) []listed {
	files := c.mu.levels[level]
	from, _ := slices.BinarySearchFunc(files, stored{minTXID: seek}, compare)
	items := make([]listed, 0, len(files)-from)
	for _, f := range files[from:] {
		items = append(items, listed{*f.info(level), f.version})
	}
	return items
}

// OpenLTXFile implements replica.Client.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.ready, (*ReplicaClient).open)
}

// ready returns the client itself, unless the context is done.
func (c *ReplicaClient) ready(ctx context.Context) (*ReplicaClient, error) { return c, ctx.Err() }

// open returns a body of size bytes of a file from offset on. A size of 0 means
// all of them.
func (c *ReplicaClient) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, found := c.find(file)
	if !found {
		return nil, fs.ErrNotExist
	}
	f := c.mu.levels[file.Level][i]
	if err := clientio.CheckVersion(ctx, f.version); err != nil {
		return nil, err
	}
	b := f.body
	b = b[min(offset, int64(len(b))):]
	if size > 0 {
		b = b[:min(size, int64(len(b)))]
	}
	return io.NopCloser(clientio.NewReader(ctx, bytes.NewReader(b))), nil
}

// WriteLTXFile implements replica.Client.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.ready, (*ReplicaClient).write)
}

// CreateLTXFile implements replica.LTXFileCreator.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.ready, (*ReplicaClient).write)
}

// write stores a file and returns its size.
func (c *ReplicaClient) write(ctx context.Context, file clientio.Upload) (int64, error) {
	body, err := io.ReadAll(file.Body)
	if err == nil {
		err = ctx.Err() // the body may have ended just as the context did
	}
	if err != nil {
		return 0, fmt.Errorf("read body: %w", err)
	}
	f := stored{minTXID: file.MinTXID, maxTXID: file.MaxTXID, createdAt: file.Timestamp, body: body}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.writes++
	f.version = strconv.FormatUint(c.mu.writes, 10)
	switch i, found := c.find(file.File); {
	case !found:
		c.mu.levels[file.Level] = slices.Insert(c.mu.levels[file.Level], i, f)
	case file.Create:
		return 0, fs.ErrExist
	default:
		c.mu.levels[file.Level][i] = f
	}
	return int64(len(body)), nil
}

// CopyLTXFile implements replica.LTXFileCopier, from any other ReplicaClient.
func (c *ReplicaClient) CopyLTXFile(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
	other, ok := from.(*ReplicaClient)
	if !ok {
		return nil, fmt.Errorf("copy ltx file from %T: %w", from, errors.ErrUnsupported)
	}
	return clientio.Copy(ctx, clientio.NewFile(level, minTXID, maxTXID), other, c.ready, func(c *ReplicaClient, ctx context.Context, file clientio.Upload) (int64, error) {
		body, err := other.open(ctx, file.File, 0, 0)
		if err != nil {
			return 0, err
		}
		file.Body = body
		return c.write(ctx, file)
	})
}

// DeleteLTXFiles implements replica.Client.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	for _, info := range a {
		if err := c.delete(ctx, info); err != nil {
			return fmt.Errorf("delete ltx file: %w", err)
		}
	}
	return nil
}

func (c *ReplicaClient) delete(ctx context.Context, info *ltx.FileInfo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := clientio.CheckInfo(info); err != nil {
		return err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if i, found := c.find(clientio.NewFile(info.Level, info.MinTXID, info.MaxTXID)); found {
		c.mu.levels[info.Level] = slices.Delete(c.mu.levels[info.Level], i, i+1)
	}
	return nil
}

// Survey implements replica.Surveyor. The place of the replica holds nothing but
// its LTX files, under the names that package file gives them.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	err := ctx.Err()
	if err == nil {
		err = clientio.CheckDir(dir)
	}
	if err != nil {
		return replica.Survey{}, fmt.Errorf("survey replica: %w", err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for level, files := range c.mu.levels {
		if len(files) == 0 {
			continue
		}
		switch dir {
		case "":
			names = []string{"ltx/"}
		case "ltx/":
			names = append(names, strconv.Itoa(level)+"/")
		}
	}
	return replica.Survey(clientio.NewSurvey(names, false, clientio.NewLayout(""))), nil
}

// find returns the place of a file in its level, and whether the file exists.
// The caller holds c.mu.
func (c *ReplicaClient) find(file clientio.File) (i int, found bool) {
	return slices.BinarySearchFunc(c.mu.levels[file.Level], stored{minTXID: file.MinTXID, maxTXID: file.MaxTXID}, compare)
}

func (f stored) info(level int) *ltx.FileInfo {
	return &ltx.FileInfo{
		Level:     level,
		MinTXID:   f.minTXID,
		MaxTXID:   f.maxTXID,
		Size:      int64(len(f.body)),
		CreatedAt: f.createdAt,
	}
}

// compare orders the files of a level like a listing.
func compare(a, b stored) int {
	return cmp.Or(cmp.Compare(a.minTXID, b.minTXID), cmp.Compare(a.maxTXID, b.maxTXID))
}

// iterator is a listing of the files at the time of the call.
type iterator struct {
	ctx   context.Context
	files []listed      // the files that are left
	item  *ltx.FileInfo // nil before the first and after the last
	err   error
}

var _ ltx.FileIterator = (*iterator)(nil)

// Next implements ltx.FileIterator.
func (itr *iterator) Next() bool {
	itr.item = nil
	if itr.err != nil || len(itr.files) == 0 {
		return false
	}
	if err := itr.ctx.Err(); err != nil {
		itr.err = fmt.Errorf("list ltx files: %w", err)
		return false
	}
	itr.item = &itr.files[0].info
	clientio.NoteVersion(itr.ctx, itr.item, itr.files[0].version)
	itr.files = itr.files[1:]
	return true
}

// Item implements ltx.FileIterator. The info belongs to the caller.
func (itr *iterator) Item() *ltx.FileInfo { return itr.item }

// Err implements ltx.FileIterator.
func (itr *iterator) Err() error { return itr.err }

// Close implements ltx.FileIterator. It returns what Err returns.
func (itr *iterator) Close() error {
	itr.files, itr.item = nil, nil
	return itr.err
}
