// Package file keeps the LTX files of a replica in a folder of a file system.
//
// The layout is that of upstream Litestream's file replicas:
//
//	<path>/ltx/<level>/<min>-<max>.ltx
//
// with a decimal level and two TXIDs of 16 hex digits. A file's modification
// time is the timestamp of its LTX header. Copies often lose it, so this
// package takes it for an approximation only.
//
// Several processes may use one folder at the same time, on a local file system
// or on a network file system with atomic rename and link.
//
// Importing the package registers the URL scheme file.
package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/superfly/ltx"
)

const (
	defaultFileMode fs.FileMode = 0o600
	defaultDirMode  fs.FileMode = 0o700
)

// ReplicaClient implements replica.Client and replica.LTXFileCreator on a
// folder. Make one with [NewReplicaClient]. The fields may be set until the
// first call of a method, and all methods are safe for concurrent use.
//
// A level outside 0 to 9, an empty path, a negative offset or size, and a body
// that does not begin with a valid LTX header of the file's name give an error
// that wraps fs.ErrInvalid.
//
// A process that is killed while it writes leaves a file whose name begins with
// a dot and ends in ".tmp". Listings ignore that file, and it may be removed
// while no process writes.
type ReplicaClient struct {
	// FileMode is the mode of new files. Zero means 0600, because a replica
	// contains the data of a database. The process's umask does not apply.
	FileMode fs.FileMode

	// DirMode is the mode of new folders, less the process's umask. Zero means
	// 0700.
	DirMode fs.FileMode

	path string               // as it was given
	dir  string               // path, independent of the working folder
	sync func(*os.File) error // (*os.File).Sync, which tests replace

	durable [clientio.MaxLevel + 1]atomic.Bool // whether the folder of a level is known to be durable
}

// NewReplicaClient returns a client for the replica in the folder path. It does
// no I/O. A relative path is one of the working folder at the time of the call. The
// first write makes the folder if it does not exist.
func NewReplicaClient(path string) *ReplicaClient {
	c := &ReplicaClient{path: path, dir: path, sync: (*os.File).Sync}
	if abs, err := filepath.Abs(path); path != "" && err == nil {
		c.dir = abs
	}
	return c
}

// Path returns the path given to NewReplicaClient.
func (c *ReplicaClient) Path() string { return c.path }

// LTXFiles implements replica.Client. CreatedAt is the file's modification
// time. With useMetadata it is the timestamp of the LTX header, which takes
// opening each file and reading its first 100 bytes. If these are no LTX
// header, it is the modification time again.
//
// LTXFiles reads the folder, and the iterator reads the size and the times of
// each file.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	dir, err := c.levelDir(level)
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !isAbsent(err) {
		return nil, fmt.Errorf("list level %d: %w", level, classify(err))
	}
	return newIterator(ctx, dir, level, seek, useMetadata, entries), nil
}

// OpenLTXFile implements replica.Client.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.ready, (*ReplicaClient).open)
}

// ready returns the client itself, unless the context is done or there is no
// path.
func (c *ReplicaClient) ready(ctx context.Context) (*ReplicaClient, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.path == "" {
		return nil, errNoPath
	}
	return c, nil
}

// open reads a range of a file, to its end if size is 0.
func (c *ReplicaClient) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	name, err := c.filename(file)
	if err != nil {
		return nil, err
	}
	f, err := openFile(name)
	if err != nil {
		return nil, classify(err)
	}
	if err := checkVersion(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	section := io.NewSectionReader(f, offset, cmp.Or(size, math.MaxInt64))
	return &body{Reader: clientio.NewReader(ctx, section), Closer: f}, nil
}

// version returns a text that differs between two files of one name, as far as
// size and modification time differ. It does not use inodes, because some
// network file systems change them.
func version(fi fs.FileInfo) string {
	return fmt.Sprintf("%d-%d", fi.Size(), fi.ModTime().UnixNano())
}

// checkVersion returns an error if a file does not have the version that the
// context asks for, and reports the version if the context asks for that.
func checkVersion(ctx context.Context, f *os.File) error {
	if !clientio.UsesVersion(ctx) {
		return nil
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return clientio.CheckVersion(ctx, version(fi))
}

// DeleteLTXFiles implements replica.Client. It stops at the first file that
// cannot be deleted.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	touched := map[string]bool{}
	for _, info := range a {
		if err := c.delete(ctx, info, touched); err != nil {
			return fmt.Errorf("delete ltx file: %w", err)
		}
	}
	for dir := range touched {
		if err := c.syncDir(dir); err != nil {
			return fmt.Errorf("delete ltx files: %w", err)
		}
	}
	return nil
}

// delete removes one file and notes its folder in touched.
func (c *ReplicaClient) delete(ctx context.Context, info *ltx.FileInfo, touched map[string]bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := clientio.CheckInfo(info); err != nil {
		return err
	}
	name, err := c.filename(clientio.NewFile(info.Level, info.MinTXID, info.MaxTXID))
	if err != nil {
		return err
	}
	if err := os.Remove(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return classify(err)
	}
	touched[filepath.Dir(name)] = true
	return nil
}

var errNoPath = clientio.Invalid("empty replica path")

// levelDir returns the folder of a level.
func (c *ReplicaClient) levelDir(level int) (string, error) {
	if c.path == "" {
		return "", errNoPath
	}
	if err := clientio.CheckLevel(level); err != nil {
		return "", err
	}
	return filepath.Join(c.dir, "ltx", strconv.Itoa(level)), nil
}

// filename returns the path of an LTX file.
func (c *ReplicaClient) filename(file clientio.File) (string, error) {
	dir, err := c.levelDir(file.Level)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, ltx.FormatFilename(file.MinTXID, file.MaxTXID)), nil
}

// body is the body that OpenLTXFile returns.
type body struct {
	io.Reader
	io.Closer
}
