package webdav

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/webindex"
)

const cleanupTime = 10 * time.Second // for what is left of a write that failed

// inMemory is the size up to which a body is sent from memory. A larger one goes to a
// temporary file first, because servers want to know its length.
var inMemory = 8 << 20

// WriteLTXFile implements replica.Client. It stores the body under a temporary name in
// the same folder, and moves it.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// CreateLTXFile implements replica.LTXFileCreator. It moves the file while it holds a
// lock of the folder, or at Apache a claim. It returns errors.ErrUnsupported if the
// server has neither, or if nothing tells which server it is.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// WriteIndex implements replica.IndexWriter.
func (c *ReplicaClient) WriteIndex(ctx context.Context, index []byte) error {
	s, err := c.connect(ctx)
	if err == nil {
		_, err = s.store(ctx, path.Join(s.place, webindex.Name), bytes.NewReader(index), false)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", webindex.Name, err)
	}
	return nil
}

// write stores a file and returns its size.
func (s *session) write(ctx context.Context, up clientio.Upload) (int64, error) {
	return s.store(ctx, s.layout.Key(up.Level, up.MinTXID, up.MaxTXID), up.Body, up.Create)
}

// store stores r under a name and returns its size.
func (s *session) store(ctx context.Context, name string, r io.Reader, create bool) (int64, error) {
	content, done, err := spool(r)
	if err != nil {
		return 0, err
	}
	defer done()
	if err := ctx.Err(); err != nil {
		return 0, err // the body may have ended just as the context did
	}
	var put way = (*session).replace
	if create {
		if put, err = s.creation(ctx); err != nil {
			return 0, notMissing(err)
		}
	}
	if err := put(s, ctx, name, content); err != nil {
		return 0, notMissing(err)
	}
	return content.size(), nil
}

// tempName returns a name that nothing has, in the same folder as another name.
func tempName(name string) string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return path.Join(path.Dir(name), "."+hex.EncodeToString(id[:])+".tmp")
}

// replace stores content under a name, also if that exists.
func (s *session) replace(ctx context.Context, name string, content body) error {
	return s.putThen(ctx, name, content, func(temp string) error { return s.move(ctx, temp, name, true) })
}

// putThen stores content under a temporary name, and calls then to move it from
// there.
func (s *session) putThen(ctx context.Context, name string, content body, then func(temp string) error) error {
	temp := tempName(name)
	err := s.put(ctx, temp, content)
	if err == nil {
		err = then(temp)
	}
	if err != nil {
		s.discard(ctx, temp)
	}
	return err
}

// notMissing returns err, which must not say that an LTX file is missing.
func notMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

// put sends a body. If the folder does not exist, it makes it.
func (s *session) put(ctx context.Context, name string, content body) error {
	const tries = 5
	for try, wait := 1, firstWait; ; try, wait = try+1, 2*wait {
		status, err := whenFree(ctx, func() (int, error) {
			status, _, err := s.do(ctx, http.MethodPut, name, nil, content, http.StatusOK, http.StatusCreated, http.StatusNoContent)
			return status, err
		})
		if status != http.StatusConflict && status != http.StatusNotFound && status != http.StatusForbidden || try == tries {
			return err
		}
		// Servers answer in different ways that a folder is missing, and also if
		// another client makes it at the same time.
		if merr := s.makeFolder(ctx, path.Dir(name)); merr != nil && try > 1 {
			return fmt.Errorf("make the folder: %w (%v)", merr, err)
		}
		if try > 1 && !clientio.Pause(ctx, wait) {
			return err
		}
	}
}

// makeFolder makes a folder and those above it that are missing.
func (s *session) makeFolder(ctx context.Context, name string) error {
	status, err := s.mkcol(ctx, name)
	if status != http.StatusConflict && status != http.StatusNotFound || name == "/" {
		return err
	}
	// Apache refuses to make the folder above if another client makes it at the same
	// time. Then there is one.
	aboveErr := s.makeFolder(ctx, path.Dir(name))
	if _, err = s.mkcol(ctx, name); err != nil {
		return cmp.Or(aboveErr, err)
	}
	return nil
}

// mkcol makes a folder, unless it exists. Then servers say that the method is not
// allowed. Apache also redirects to the folder if another client has made it at the
// same time.
func (s *session) mkcol(ctx context.Context, name string) (status int, err error) {
	return whenFree(ctx, func() (int, error) {
		status, _, err := s.do(ctx, "MKCOL", name, nil, nil, http.StatusCreated, http.StatusOK, http.StatusMethodNotAllowed, http.StatusMovedPermanently)
		return status, err
	})
}

// destination returns the header of a request that gives something a name.
func (s *session) destination(to string, replace bool) http.Header {
	u := *s.server
	u.Path += to
	overwrite := "F"
	if replace {
		overwrite = "T"
	}
	return http.Header{"Destination": {u.String()}, "Overwrite": {overwrite}}
}

// errOccupied is the error of a move to a name that exists.
var errOccupied = fmt.Errorf("name is taken: %w", fs.ErrExist)

// move gives a file another name. If it replaces a file, it tries again what fails
// because another writer replaces it, too.
func (s *session) move(ctx context.Context, from, to string, replace bool) error {
	header := s.destination(to, replace)
	const tries = 6 // against another writer that replaces the same file
	for try, wait := 1, firstWait; ; try, wait = try+1, min(2*wait, mostWait) {
		status, err := whenFree(ctx, func() (int, error) {
			status, _, err := s.do(ctx, "MOVE", from, header, nil, http.StatusCreated, http.StatusNoContent, http.StatusOK)
			return status, err
		})
		switch {
		case status == http.StatusPreconditionFailed && !replace:
			return errOccupied
		case status == http.StatusForbidden, status == http.StatusConflict, status == http.StatusPreconditionFailed, status == http.StatusNotFound, status == http.StatusInternalServerError:
			// Apache deletes the old file first, and answers so if another writer
			// has given the name to its file by then.
			if !replace || try == tries {
				return err
			}
		default:
			return err
		}
		if !clientio.Pause(ctx, wait) {
			return err
		}
	}
}

// discard removes a temporary file or folder, or what else is left.
func (s *session) discard(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_ = s.remove(ctx, name) // listings ignore it
}

// spool reads a body whose length is not known. The caller calls done after the last
// use.
func spool(r io.Reader) (content body, done func(), err error) {
	first, more, err := clientio.ReadPart(r, inMemory)
	if err != nil {
		return nil, nil, err
	}
	if !more {
		return text(first), func() {}, nil
	}
	f, err := os.CreateTemp("", "litestream-webdav-*.tmp")
	if err != nil {
		return nil, nil, fmt.Errorf("temporary file: %w", clientio.WithoutClass(err))
	}
	done = func() {
		_ = f.Close()           // it is not used any more
		_ = os.Remove(f.Name()) // the system may have removed it
	}
	n, err := io.Copy(f, io.MultiReader(bytes.NewReader(first), r))
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("read body: %w", err)
	}
	return spooled{f, n}, done, nil
}

// text is a body in memory.
type text []byte

func (t text) size() int64         { return int64(len(t)) }
func (t text) open() io.ReadCloser { return io.NopCloser(bytes.NewReader(t)) }

// spooled is a body in a temporary file.
type spooled struct {
	file *os.File
	n    int64
}

func (s spooled) size() int64 { return s.n }
func (s spooled) open() io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(s.file, 0, math.MaxInt64))
}
