package abs

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// LTXFiles implements replica.Client. The iterator sends a request for every
// 5,000 files. CreatedAt is the timestamp of the LTX header, with or without
// useMetadata, or the blob's modification time if it has no such metadata.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.List(ctx, level, seek, useMetadata, c.connect)
}

// AllLTXFiles implements replica.AllLTXFilesLister like LTXFiles.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.ListAll(ctx, useMetadata, c.connect)
}

// Layout implements clientio.Lister.
func (s *session) Layout() clientio.Layout { return s.layout }

// Pager implements clientio.Lister. Metadata comes with every listing.
func (s *session) Pager(prefix, start string, _ bool) clientio.Pager {
	marker := "" // of the next page
	return func(ctx context.Context) ([]clientio.Object, bool, error) {
		pageCtx := ctx
		if start != "" && marker == "" && !s.noStartFrom.Load() {
			pageCtx = context.WithValue(ctx, startFromKey{}, start)
		}
		page, err := s.page(pageCtx, prefix, marker)
		if pageCtx != ctx && hasStatus(err, http.StatusBadRequest) {
			// The parameter may be the reason for the refusal. If the request
			// succeeds without it, it was.
			if page, err = s.page(ctx, prefix, marker); err == nil {
				s.noStartFrom.Store(true)
			}
		}
		if err != nil {
			return nil, false, s.explain(ctx, err)
		}
		found, err := s.objects(page, prefix)
		if err == nil && *page.NextMarker != "" && *page.NextMarker == marker {
			err = errors.New("listing does not go on")
		}
		if err != nil {
			return nil, false, err
		}
		marker = *page.NextMarker
		return found, marker != "", nil
	}
}

// page fetches one page of a listing. A pager of the SDK cannot be used after
// an error.
func (s *session) page(ctx context.Context, prefix, marker string) (container.ListBlobsFlatResponse, error) {
	options := &container.ListBlobsFlatOptions{Prefix: &prefix, Include: container.ListBlobsInclude{Metadata: true}}
	if marker != "" {
		options.Marker = &marker
	}
	if s.pageSize > 0 {
		options.MaxResults = &s.pageSize
	}
	return s.container.NewListBlobsFlatPager(options).NextPage(asking(ctx, requestList))
}

// objects returns the blobs of a page. It checks that the page is complete and
// belongs to its request.
func (s *session) objects(page container.ListBlobsFlatResponse, prefix string) ([]clientio.Object, error) {
	switch {
	case page.Segment == nil || page.NextMarker == nil:
		return nil, errors.New("answer is no whole page of a listing")
	case page.ContainerName != nil && *page.ContainerName != "" && *page.ContainerName != s.bucket:
		return nil, errors.New("answer is a listing of another container")
	case page.Prefix != nil && *page.Prefix != "" && *page.Prefix != prefix:
		return nil, errors.New("answer is a listing of another path")
	}
	a := make([]clientio.Object, 0, len(page.Segment.BlobItems))
	for _, item := range page.Segment.BlobItems {
		if item == nil || item.Name == nil {
			return nil, errors.New("answer lists a blob without its name")
		}
		if !strings.HasPrefix(*item.Name, prefix) {
			return nil, errors.New("answer lists names that were not asked for")
		}
		if _, _, _, ok := s.layout.Parse(*item.Name); !ok {
			continue // for example a folder
		}
		if item.Properties == nil || item.Properties.ContentLength == nil {
			return nil, errors.New("answer lists a file without its size")
		}
		a = append(a, clientio.Object{Key: *item.Name, Size: *item.Properties.ContentLength, CreatedAt: createdAt(item), Version: version(item)})
	}
	return a, nil
}

// version returns a blob's ETag.
func version(item *container.BlobItem) string {
	if item.Properties.ETag == nil {
		return ""
	}
	return string(*item.Properties.ETag)
}

// createdAt returns the best approximation of an LTX header's timestamp.
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

// startFromKey is the key of the parameter startFrom in a context.
type startFromKey struct{}

// startFromPolicy adds the parameter to requests. The SDK has an option for it,
// but does not send it.
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
