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
	body, err := c.read(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, fmt.Errorf("open ltx file %d/%s: %w", level, ltx.FormatFilename(minTXID, maxTXID), err)
	}
	return body, nil
}

func (c *ReplicaClient) read(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	s, err := c.init(ctx)
	if err != nil {
		return nil, err
	}
	if err := clientio.CheckLevel(level); err != nil {
		return nil, err
	}
	if err := clientio.CheckRange(offset, size); err != nil {
		return nil, err
	}

	var resp *http.Response
	getCtx := policy.WithCaptureResponse(asking(ctx, requestRead), &resp)
	got, err := s.container.NewBlobClient(s.layout.Key(level, minTXID, maxTXID)).
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
	n, err := checkAnswer(resp, offset, size)
	isObject := clientio.IsObject(resp.Header, storePrefix)
	if err == nil && !isObject && (clientio.IsPage(resp.Header) || resp.StatusCode != http.StatusPartialContent && (offset > 0 || size > 0)) {
		err = errors.New("answer is not the range of a blob")
	}
	if isObject || err == nil && resp.StatusCode == http.StatusPartialContent {
		if err := clientio.CheckVersion(ctx, resp.Header.Get("ETag")); err != nil {
			_ = got.Body.Close() // of another version
			return nil, err
		}
	}
	switch {
	case err != nil && isObject:
		_ = got.Body.Close() // a body that nobody wants
		return nil, err
	case err != nil:
		return nil, clientio.RefuseBody(resp, err.Error()).Show(nil)
	}
	body := clientio.NewBody(ctx, got.Body, n)
	if !isObject && resp.StatusCode == http.StatusOK {
		return clientio.CheckBegin(body, func(begin []byte) error {
			return clientio.NewAnswerError(resp, begin, "answer is no ltx file").Show(nil)
		}), nil
	}
	return body, nil
}

// checkAnswer checks that an answer is that to a request for size bytes at
// offset, size 0 being all, and returns the length of its body.
func checkAnswer(resp *http.Response, offset, size int64) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		n := resp.ContentLength
		switch {
		case n < 0:
			return 0, fmt.Errorf("answer has no Content-Length: %w", io.ErrUnexpectedEOF)
		case n == 0, offset == 0 && (size == 0 || n <= size):
			return n, nil // all of the file
		}
		return 0, clientio.Permanent(fmt.Errorf("asked for %d bytes at %d, got a whole file of %d: ranges are ignored", size, offset, n))
	}

	n, err := clientio.RangeLength(resp.Header.Get("Content-Range"), resp.ContentLength, offset, size)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", err, io.ErrUnexpectedEOF)
	}
	return n, nil
}

// checkUnsatisfiable checks that an answer without the range at offset, which
// begins at the end of the file or beyond, does not say otherwise.
func checkUnsatisfiable(resp *http.Response, offset int64) error {
	if resp == nil {
		return nil
	}
	if header := resp.Header.Get("Content-Range"); !clientio.EndsBefore(header, offset) {
		return fmt.Errorf("no range at %d, and the content range is %.80q: %w", offset, header, io.ErrUnexpectedEOF)
	}
	return nil
}
