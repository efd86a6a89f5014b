package abs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// OpenLTXFile implements litestream.ReplicaClient.
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
	getCtx := policy.WithCaptureResponse(context.WithValue(ctx, streamKey{}, true), &resp)
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
	if err != nil {
		_ = got.Body.Close() // a body that nobody wants
		return nil, err
	}
	return clientio.NewBody(ctx, got.Body, n), nil
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

	first, last, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	if !ok {
		return 0, fmt.Errorf("answer has no valid Content-Range: %w", io.ErrUnexpectedEOF)
	}
	want := total - 1
	if size > 0 {
		want = min(want, offset+size-1)
	}
	n := last - first + 1
	if first != offset || last != want || resp.ContentLength >= 0 && resp.ContentLength != n {
		return 0, fmt.Errorf("asked for %d bytes at %d, got range %d-%d of %d with %d bytes: %w",
			size, offset, first, last, total, resp.ContentLength, io.ErrUnexpectedEOF)
	}
	return n, nil
}

var contentRange = regexp.MustCompile(`^bytes ([0-9]+)-([0-9]+)/([0-9]+)$`)

// parseContentRange parses a header like "bytes 0-9/100".
func parseContentRange(s string) (first, last, total int64, ok bool) {
	match := contentRange.FindStringSubmatch(s)
	if match == nil {
		return 0, 0, 0, false
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(match[i+1], 10, 64); err != nil {
			return 0, 0, 0, false
		}
	}
	first, last, total = n[0], n[1], n[2]
	// Azurite answers a range that begins at the end with one that ends before.
	return first, last, total, first <= last+1 && last < total
}

// checkUnsatisfiable checks that an answer without the range at offset, which
// begins at the end of the file or beyond, does not say otherwise.
func checkUnsatisfiable(resp *http.Response, offset int64) error {
	if resp == nil {
		return nil
	}
	total, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes */")
	if n, err := strconv.ParseInt(total, 10, 64); ok && err == nil && n > offset {
		return fmt.Errorf("no range at %d of %d bytes: %w", offset, n, io.ErrUnexpectedEOF)
	}
	return nil
}
