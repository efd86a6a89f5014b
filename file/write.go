package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
)

// WriteLTXFile implements replica.Client. It writes the body to a temporary
// file in the same folder, flushes that to disk, and renames it.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.ready, (*ReplicaClient).write)
}

// CreateLTXFile implements replica.LTXFileCreator. It returns
// errors.ErrUnsupported on a file system without hard links.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.ready, (*ReplicaClient).write)
}

// CopyLTXFile implements replica.LTXFileCopier, from any other folder. The system
// copies the bytes, and shares them between both files where the file system can do
// that. They are two files: a program that changes one of them in place, or its mode
// or time, does not change the other one, as it would with a hard link.
func (c *ReplicaClient) CopyLTXFile(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
	other, ok := from.(*ReplicaClient)
	if !ok {
		return nil, fmt.Errorf("copy ltx file from %T: %w", from, errors.ErrUnsupported)
	}
	return clientio.Copy(ctx, clientio.NewFile(level, minTXID, maxTXID), other, c.ready, func(c *ReplicaClient, ctx context.Context, file clientio.Upload) (size int64, err error) {
		name, err := other.filename(file.File)
		if err != nil {
			return 0, err
		}
		f, err := openFile(name)
		if err != nil {
			return 0, classify(err)
		}
		defer func() { _ = f.Close() }() // it was only read
		if err := checkVersion(ctx, f); err != nil {
			return 0, err
		}
		file.Body = &fileBody{ctx, f}
		return c.write(ctx, file)
	})
}

// fileBody is a body that is a file, so that the system can copy it.
type fileBody struct {
	ctx context.Context
	*os.File
}

// copyStep is the number of bytes that are copied at once. The context is looked at
// in between.
const copyStep = 64 << 20

// WriteTo implements io.WriterTo.
func (b *fileBody) WriteTo(w io.Writer) (size int64, err error) {
	for {
		if err := b.ctx.Err(); err != nil {
			return size, err
		}
		n, err := io.Copy(w, io.LimitReader(b.File, copyStep))
		size += n
		if n < copyStep || err != nil {
			return size, err
		}
	}
}

// write stores a file and returns its size. If it succeeds, the temporary file
// no longer exists.
func (c *ReplicaClient) write(ctx context.Context, file clientio.Upload) (int64, error) {
	name, err := c.filename(file.File)
	if err != nil {
		return 0, err
	}
	temp, size, err := c.writeTemp(file.Level, file.Body, file.Timestamp)
	if err != nil {
		return 0, classify(err)
	}
	// The body may have ended just as the context did.
	if err = ctx.Err(); err == nil && file.Create {
		err = create(temp, name)
	} else if err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return 0, classify(errors.Join(err, os.Remove(temp)))
	}
	return size, c.syncDir(filepath.Dir(name))
}

// createTemp makes an empty temporary file in the folder of a level.
func (c *ReplicaClient) createTemp(level int) (*os.File, error) {
	f, err := c.tryCreateTemp(level)
	if errors.Is(err, fs.ErrNotExist) {
		// A folder that this client has made was removed. It is made again.
		for i := range c.durable {
			c.durable[i].Store(false)
		}
		f, err = c.tryCreateTemp(level)
	}
	return f, err
}

func (c *ReplicaClient) tryCreateTemp(level int) (*os.File, error) {
	dir, err := c.levelDir(level)
	if err != nil {
		return nil, err
	}
	if err := c.makeDir(level, dir); err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, ".*.tmp")
}

// makeDir makes the folder of a level durable, once in the life of the client.
// Concurrent first calls do the same work, which does no harm.
func (c *ReplicaClient) makeDir(level int, dir string) error {
	if c.durable[level].Load() {
		return nil
	}

	// A folder survives power loss after its parent was flushed. The folders
	// within the replica are flushed even if they exist, because the process
	// that made them may not have flushed them yet.
	ltxDir := filepath.Dir(dir)
	path := filepath.Dir(ltxDir)
	parents := []string{ltxDir, path}
	for p := path; p != filepath.Dir(p); p = filepath.Dir(p) {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}

	mode := c.DirMode
	if mode == 0 {
		mode = defaultDirMode
	}
	if err := os.MkdirAll(dir, mode); errors.Is(err, fs.ErrExist) {
		// A link to nothing is in the way. For the caller, fs.ErrExist would mean
		// that the LTX file exists.
		return clientio.Permanent(errors.New(err.Error()))
	} else if err != nil {
		return err
	}
	for _, p := range parents {
		if err := c.syncDir(p); err != nil {
			return err
		}
	}
	c.durable[level].Store(true)
	return nil
}

// writeTemp stores r durably in a temporary file in the folder of a level, and
// returns the path of the file. After an error the file does not exist.
func (c *ReplicaClient) writeTemp(level int, r io.Reader, timestamp time.Time) (temp string, size int64, err error) {
	f, err := c.createTemp(level)
	if err != nil {
		return "", 0, err
	}
	size, err = c.fill(f, r, timestamp)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), size, nil
}

// fill copies r to f and flushes it to disk.
func (c *ReplicaClient) fill(f *os.File, r io.Reader, timestamp time.Time) (size int64, err error) {
	if mode := c.FileMode; mode != 0 && mode != defaultFileMode {
		if err := f.Chmod(mode); err != nil {
			return 0, err
		}
	}
	if size, err = io.Copy(f, r); err != nil {
		return 0, err
	}
	if err := os.Chtimes(f.Name(), timestamp, timestamp); err != nil {
		return 0, err
	}
	return size, c.sync(f)
}

// create renames the file temp, unless a file of the new name exists.
func create(temp, name string) error {
	err := os.Link(temp, name)
	// link(2) returns EPERM on a file system without hard links. It does not
	// mean a missing permission here, because the folder has just accepted a
	// file.
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	} else if err != nil {
		return err
	}
	// The file has its name now. It does not matter if removing the other name
	// fails.
	_ = os.Remove(temp)
	return nil
}

// syncDir makes the entries of a folder durable.
func (c *ReplicaClient) syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be flushed there
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // the file was only read
	// fsync(2) returns EINVAL on a file system that has no state of folders to
	// flush.
	if err := c.sync(f); err != nil && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
