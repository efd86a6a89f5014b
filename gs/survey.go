package gs

import (
	"context"
	"errors"

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
	answer, err := s.objects.List(s.bucketName).Context(ctx).Prefix(prefix).Delimiter("/").Projection("noAcl").MaxResults(int64(limit)).
		Fields("kind", "nextPageToken", "prefixes", "items(name)").Do()
	if err != nil {
		return nil, false, s.fail(ctx, err)
	}
	names = answer.Prefixes
	for _, item := range answer.Items {
		if item == nil {
			return nil, false, errors.New("answer lists an object without its name")
		}
		names = append(names, item.Name)
	}
	if !clientio.AllBelow(names, prefix) {
		return nil, false, errors.New("answer lists names that were not asked for")
	}
	s.bucketFound.Store(true)
	return names, answer.NextPageToken != "", nil
}
