package abs

import (
	"context"
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// Survey implements replica.Surveyor.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := clientio.SurveyObjects(ctx, dir, c.connect)
	return replica.Survey(survey), err
}

// Folder implements clientio.Surveyed.
func (s *session) Folder(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	most := int32(limit)
	page, err := s.container.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{Prefix: &prefix, MaxResults: &most}).
		NextPage(asking(ctx, requestList))
	switch {
	case err != nil:
		return nil, false, s.explain(ctx, err)
	case page.Segment == nil || page.NextMarker == nil:
		return nil, false, errors.New("answer is no whole page of a listing")
	case page.ContainerName != nil && *page.ContainerName != "" && *page.ContainerName != s.bucket:
		return nil, false, errors.New("answer is a listing of another container")
	}
	for _, item := range page.Segment.BlobItems {
		if item == nil || item.Name == nil {
			return nil, false, errors.New("answer lists a blob without its name")
		}
		names = append(names, *item.Name)
	}
	for _, p := range page.Segment.BlobPrefixes {
		if p == nil || p.Name == nil {
			return nil, false, errors.New("answer lists a folder without its name")
		}
		names = append(names, *p.Name)
	}
	if !clientio.AllBelow(names, prefix) {
		return nil, false, errors.New("answer lists names that were not asked for")
	}
	return names, *page.NextMarker != "", nil
}
