package sftp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/pkg/sftp"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/webindex"
)

// writeSize is how much of a file is sent before the server has confirmed it. It
// is small enough that a slow connection does not seem dead meanwhile.
const writeSize = 512 << 10

// WriteLTXFile implements replica.Client. It writes the body to a temporary file
// in the same folder, has the server flush that to disk, and renames it.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// CreateLTXFile implements replica.LTXFileCreator, by a hard link. It returns
// errors.ErrUnsupported if the server makes none.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// write stores a file and returns its size.
func (s *session) write(ctx context.Context, up clientio.Upload) (int64, error) {
	t, err := s.createTemp(ctx, s.layout.Prefix(up.Level), up.Create)
	if err != nil {
		return 0, err
	}
	name := path.Join(path.Dir(t.path), ltx.FormatFilename(up.MinTXID, up.MaxTXID))
	publish := t.rename
	if up.Create {
		publish = t.linkTo
	}
	return t.store(ctx, up.Body, up.Timestamp, func() error { return publish(name) })
}

// WriteIndex implements replica.IndexWriter.
func (c *ReplicaClient) WriteIndex(ctx context.Context, index []byte) error {
	s, err := c.connect(ctx)
	if err == nil {
		err = s.writeIndex(ctx, index)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", webindex.Name, err)
	}
	return nil
}

func (s *session) writeIndex(ctx context.Context, index []byte) error {
	t, err := s.createTemp(ctx, path.Clean(s.path), false)
	if err != nil {
		return err
	}
	_, err = t.store(ctx, bytes.NewReader(index), time.Now(), func() error { return t.rename(path.Join(s.path, webindex.Name)) })
	return err
}

// store writes r to the file and then publishes it. It returns the size of the file.
// The temporary file does not outlive the call.
func (t *temp) store(ctx context.Context, r io.Reader, timestamp time.Time, publish func() error) (int64, error) {
	size, err := t.fill(ctx, r)
	if err == nil {
		err = t.do(ctx, func() error { return t.settle(timestamp) })
	}
	if err == nil {
		err = t.do(ctx, publish)
	}
	t.end(err != nil)
	return size, err
}

// temp is a temporary file, on one connection.
type temp struct {
	link *link
	path string
	file *sftp.File
}

// createTemp makes an empty temporary file in a folder, and the folder if it does not
// exist. With create, the server has to make hard links.
func (s *session) createTemp(ctx context.Context, dir string, create bool) (*temp, error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	name := path.Join(dir, "."+hex.EncodeToString(id[:])+".tmp")
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	return do(ctx, s, func(l *link) (*temp, error) {
		if create && !l.canLink {
			return nil, fmt.Errorf("server makes no hard links, without which two writers could create one file: %w", errors.ErrUnsupported)
		}
		f, err := l.client.OpenFile(name, flags)
		if errors.Is(err, fs.ErrNotExist) {
			if err := l.client.MkdirAll(path.Clean(dir)); err != nil {
				return nil, unexpected("make folder "+dir, err)
			}
			f, err = l.client.OpenFile(name, flags)
		}
		if err != nil {
			return nil, unexpected("make a file in "+dir, l.whyFailed(dir, err))
		}
		l.calls.Add(1) // until the file has its name
		return &temp{l, name, f}, nil
	}, func(_ *link, t *temp) { t.end(true) })
}

// fill copies r to the file and returns its size.
func (t *temp) fill(ctx context.Context, r io.Reader) (size int64, err error) {
	for more := true; more; {
		var part []byte
		if part, more, err = clientio.ReadPart(r, writeSize); err != nil {
			return 0, err
		}
		if len(part) == 0 {
			break
		}
		offset := size
		size += int64(len(part))
		if err := t.do(ctx, func() error {
			_, err := t.file.WriteAt(part, offset)
			return t.link.whyFailed(path.Dir(t.path), err)
		}); err != nil {
			return 0, err
		}
	}
	return size, ctx.Err() // the body may have ended just as the context did
}

// settle makes the content of the file durable and sets its time.
func (t *temp) settle(timestamp time.Time) error {
	synced := make(chan error, 1)
	go func() {
		var err error
		if t.link.canSync {
			err = t.file.Sync()
		}
		synced <- err
	}()
	err := t.link.client.Chtimes(t.path, timestamp, timestamp)
	return errors.Join(err, <-synced)
}

// linkTo gives the file its name, unless a file of that name exists.
func (t *temp) linkTo(name string) error {
	err := t.link.client.Link(t.path, name)
	if err == nil {
		// The file has its name now. It does not matter if removing the other
		// name fails.
		_ = t.link.client.Remove(t.path)
		return nil
	}
	if isFailure(err) {
		if _, serr := t.link.client.Lstat(name); serr == nil {
			return errExist
		}
	}
	return err
}

// errExist is fs.ErrExist in the errors of temp.do.
var errExist = errors.New("file exists")

// rename gives the file its name, and replaces a file of that name.
func (t *temp) rename(name string) error {
	if t.link.canReplace {
		return t.link.client.PosixRename(t.path, name)
	}
	// Other writers may give files the same name at the same time.
	const tries = 20
	for range tries {
		err := t.link.client.Rename(t.path, name)
		if !isFailure(err) {
			return err
		}
		if err := t.link.client.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return t.link.client.Rename(t.path, name)
}

// do runs a function on the connection of the file.
func (t *temp) do(ctx context.Context, fn func() error) error {
	_, err := on(ctx, t.link, func() (struct{}, error) { return struct{}{}, fn() }, func(struct{}) {})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errExist):
		return fs.ErrExist
	}
	return unexpected("store "+t.path, err)
}

// end closes the file and gives the connection back. It does not wait for the
// server. With discard, it also removes the file.
func (t *temp) end(discard bool) {
	if !t.link.begin(func() {
		defer t.link.release()
		_ = t.file.Close() // what was written is flushed already
		if discard {
			_ = t.link.client.Remove(t.path) // listings ignore it
		}
	}) {
		t.link.release()
	}
}

// whyFailed returns the error of a call that writes to a folder. If the server does
// not say why, it looks whether the disk is full.
func (l *link) whyFailed(dir string, err error) error {
	if !isFailure(err) || !l.canStat {
		return err
	}
	if vfs, serr := l.client.StatVFS(dir); serr == nil && vfs.Bavail == 0 {
		return fmt.Errorf("%w: no space is left on the disk of the server", err)
	}
	return err
}
