package abs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// LTXFiles implements litestream.ReplicaClient. It takes a request for every
// 5,000 files, which the iterator sends. CreatedAt is the timestamp of the LTX
// header, with or without useMetadata, or the blob's modification time if it
// has no such metadata.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, _ bool) (ltx.FileIterator, error) {
	s, err := c.init(ctx)
	if err == nil {
		err = clientio.CheckLevel(level)
	}
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	startFrom := ""
	if seek > 0 {
		startFrom = s.layout.Seek(level, seek)
	}
	pager := s.pager(fmt.Sprintf("list level %d", level), s.layout.Prefix(level), startFrom)
	return clientio.NewIterator(ctx, s.layout, seek, pager), nil
}

// AllLTXFiles implements litestream.AllLTXFilesLister, on the terms of
// LTXFiles.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, _ bool) (ltx.FileIterator, error) {
	s, err := c.init(ctx)
	if err != nil {
		return nil, fmt.Errorf("list all levels: %w", err)
	}
	return clientio.NewIterator(ctx, s.layout, 0, s.pager("list all levels", s.layout.CommonPrefix(), "")), nil
}

// pager lists the blobs whose names begin with prefix; where the service can,
// from a name on.
func (s *session) pager(op, prefix, startFrom string) clientio.Pager {
	marker := "" // of the next page
	return func(ctx context.Context) ([]clientio.Object, bool, error) {
		pageCtx := ctx
		if startFrom != "" && marker == "" && !s.noStartFrom.Load() {
			pageCtx = context.WithValue(ctx, startFromKey{}, startFrom)
		}
		page, err := s.page(pageCtx, prefix, marker)
		if pageCtx != ctx && hasStatus(err, http.StatusBadRequest) {
			// Whatever it dislikes: see whether it is the parameter.
			if page, err = s.page(ctx, prefix, marker); err == nil {
				s.noStartFrom.Store(true)
			}
		}
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", op, s.explain(ctx, err))
		}
		if page.NextMarker == nil || *page.NextMarker == "" {
			return objects(page), false, nil
		}
		if *page.NextMarker == marker {
			return nil, false, fmt.Errorf("%s: %w", op, errSamePage)
		}
		marker = *page.NextMarker
		return objects(page), true, nil
	}
}

// page fetches one page of a listing. An SDK pager is of no use after an
// error.
func (s *session) page(ctx context.Context, prefix, marker string) (container.ListBlobsFlatResponse, error) {
	options := &container.ListBlobsFlatOptions{Prefix: &prefix, Include: container.ListBlobsInclude{Metadata: true}}
	if marker != "" {
		options.Marker = &marker
	}
	if s.pageSize > 0 {
		options.MaxResults = &s.pageSize
	}
	return s.container.NewListBlobsFlatPager(options).NextPage(ctx)
}

var errSamePage = errors.New("listing does not go on")

// objects returns what a page tells of its blobs.
func objects(page container.ListBlobsFlatResponse) []clientio.Object {
	if page.Segment == nil {
		return nil
	}
	a := make([]clientio.Object, 0, len(page.Segment.BlobItems))
	for _, item := range page.Segment.BlobItems {
		if item == nil || item.Name == nil || item.Properties == nil || item.Properties.ContentLength == nil {
			continue // a folder, say
		}
		a = append(a, clientio.Object{Key: *item.Name, Size: *item.Properties.ContentLength, CreatedAt: createdAt(item)})
	}
	return a
}

// createdAt returns the best hint of an LTX header's timestamp.
func createdAt(item *container.BlobItem) time.Time {
	for key, value := range item.Metadata {
		if value == nil || !strings.EqualFold(key, MetadataKeyTimestamp) {
			continue
		}
		if t, err := time.Parse(time.RFC3339Nano, *value); err == nil {
			return t
		}
	}
	for _, t := range []*time.Time{item.Properties.LastModified, item.Properties.CreationTime} {
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

// startFromKey is the key of a context's value of the parameter startFrom.
type startFromKey struct{}

// startFromPolicy adds the parameter to requests: the SDK has an option for
// it, and does not send it.
type startFromPolicy struct{}

// Do implements policy.Policy.
func (startFromPolicy) Do(req *policy.Request) (*http.Response, error) {
	if name, ok := req.Raw().Context().Value(startFromKey{}).(string); ok {
		query := req.Raw().URL.Query()
		query.Set("startFrom", name)
		req.Raw().URL.RawQuery = query.Encode()
	}
	return req.Next()
}
