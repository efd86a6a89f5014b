package gs

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http"
	"time"

	"cloud.google.com/go/storage"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// writeStep is the number of bytes of a large file that are passed on at
	// once.
	writeStep = 256 << 10

	abortTimeout = 5 * time.Second

	contentType = "application/octet-stream"
)

// WriteLTXFile implements replica.Client.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// CreateLTXFile implements replica.LTXFileCreator. After an error that is not
// fs.ErrExist the file may have been stored.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// write stores an object and returns its size.
func (s *session) write(ctx context.Context, file clientio.Upload) (int64, error) {
	key := s.layout.Key(file.Level, file.MinTXID, file.MaxTXID)
	part, more, err := clientio.ReadPart(file.Body, s.partSize)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}

	up := &upload{}
	uploadCtx, cancel := context.WithCancel(withUpload(ctx, up))
	defer cancel() // nothing else undoes a writer that is not closed
	object := s.bucket.Object(key)
	if file.Create {
		object = object.If(storage.Conditions{DoesNotExist: true})
	}
	w := object.NewWriter(uploadCtx)
	w.ContentType = contentType
	w.Metadata = map[string]string{MetadataKeyTimestamp: file.Timestamp.Format(time.RFC3339Nano)}
	if more {
		w.ChunkSize = s.partSize // the service gets the checksum with the last part
	} else {
		w.ChunkSize = 0
		w.SendCRC32C, w.CRC32C = true, crc32.Checksum(part, crc32.MakeTable(crc32.Castagnoli))
	}
	size, readErr, err := send(w, part, more, file.Body)
	if readErr == nil && err == nil {
		err = w.Close()
	}
	if readErr == nil && err == nil {
		if err = checkStored(w, s.bucketName, key, size); err == nil {
			s.bucketFound.Store(true)
			return size, nil
		}
	}

	cancel()
	session, ambiguous := up.state()
	s.abort(ctx, session)
	switch {
	case readErr != nil:
		return 0, readErr
	case file.Create && statusOf(err) == http.StatusPreconditionFailed && ambiguous:
		return 0, fmt.Errorf("an attempt failed, and the next found a file, which may be its own: %w", errAmbiguous)
	case file.Create && statusOf(err) == http.StatusPreconditionFailed:
		return 0, fmt.Errorf("object %s/%s: %w", s.bucketName, key, fs.ErrExist)
	}
	return 0, s.fail(ctx, err)
}

// checkStored checks that the answer to an upload describes the file that was
// sent.
func checkStored(w *storage.Writer, bucket, key string, size int64) error {
	a := w.Attrs()
	switch {
	case a.Name != key, a.Bucket != bucket:
		return fmt.Errorf("answer to the upload is about another object: %w", errAmbiguous)
	case a.Size != size:
		return fmt.Errorf("answer to the upload is about an object of %d bytes, not %d: %w", a.Size, size, errAmbiguous)
	case w.SendCRC32C && a.CRC32C != 0 && a.CRC32C != w.CRC32C:
		return fmt.Errorf("answer to the upload is about an object with another checksum: %w", errAmbiguous)
	}
	return nil
}

// send passes a file on to w: part, which was read before, and then r.
func send(w io.Writer, part []byte, more bool, r io.Reader) (size int64, readErr, err error) {
	for {
		n, err := w.Write(part)
		size += int64(n)
		if err != nil || !more {
			return size, nil, err
		}
		if part, more, err = clientio.ReadPart(r, writeStep); err != nil {
			return size, err, nil
		}
	}
}

// abort makes the service discard a resumable upload. If that fails, the
// service does so by itself after a week.
func (s *session) abort(ctx context.Context, session string) {
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, session, nil)
	if err != nil {
		return
	}
	if resp, err := s.http.Do(req); err == nil {
		_ = resp.Body.Close() // the answer does not matter
	}
}
