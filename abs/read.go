package abs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// OpenLTXFile implements replica.Client.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*session).open)
}

// open reads a range of a file, to its end if size is 0.
func (s *session) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	return s.ReadKey(ctx, s.layout.Key(file.Level, file.MinTXID, file.MaxTXID), offset, size)
}

// ReadKey implements clientio.Surveyed. It reads a range of a blob, to its end if
// size is 0.
func (s *session) ReadKey(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error) {
	var resp *http.Response
	getCtx := policy.WithCaptureResponse(asking(ctx, requestRead), &resp)
	_, err := s.container.NewBlobClient(key).
		DownloadStream(getCtx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset, Count: size}})
	switch {
	case hasCode(err, bloberror.BlobNotFound):
		return nil, fs.ErrNotExist
	case hasStatus(err, http.StatusRequestedRangeNotSatisfiable):
		if err := checkUnsatisfiable(resp, offset); err != nil {
			return nil, err
		}
		return clientio.NewBody(ctx, http.NoBody, 0), nil
	case err != nil:
		return nil, s.explain(ctx, err)
	}
	n, wrong := checkAnswer(resp, offset, size)
	isObject := clientio.IsObject(resp.Header, storePrefix)
	if wrong == nil && !isObject && (clientio.IsPage(resp.Header) || resp.StatusCode != http.StatusPartialContent && (offset > 0 || size > 0)) {
		wrong = errors.New("answer is not the range of a blob")
	}
	return clientio.ObjectAnswer{
		Response: resp,
		IsObject: isObject,
		Ranged:   resp.StatusCode == http.StatusPartialContent,
		Length:   n,
		Version:  resp.Header.Get("ETag"),
		Wrong:    wrong,
	}.Body(ctx)
}

// checkAnswer checks that an answer has the bytes that were asked for, where a
// size of 0 means all, and returns the length of its body.
func checkAnswer(resp *http.Response, offset, size int64) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		n := resp.ContentLength
		switch {
		case n < 0:
			return 0, fmt.Errorf("answer has no Content-Length: %w", io.ErrUnexpectedEOF)
		case n == 0, offset == 0 && (size == 0 || n <= size):
			return n, nil // the whole file
		}
		return 0, clientio.Permanent(fmt.Errorf("asked for %d bytes at %d, got a whole file of %d: ranges are ignored", size, offset, n))
	}

	n, err := clientio.RangeLength(resp.Header.Get("Content-Range"), resp.ContentLength, offset, size)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", err, io.ErrUnexpectedEOF)
	}
	return n, nil
}

// checkUnsatisfiable checks that an answer with status 416 does not contradict
// that the file ends at or before offset.
func checkUnsatisfiable(resp *http.Response, offset int64) error {
	if resp == nil {
		return nil
	}
	if header := resp.Header.Get("Content-Range"); !clientio.EndsBefore(header, offset) {
		return fmt.Errorf("no range at %d, and the content range is %.80q: %w", offset, header, io.ErrUnexpectedEOF)
	}
	return nil
}
