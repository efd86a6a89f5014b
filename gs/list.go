package gs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	raw "google.golang.org/api/storage/v1"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// pageSize is the greatest number of objects that the service lists in one
// answer.
const pageSize = 1000

// Layout implements clientio.Lister.
func (s *session) Layout() clientio.Layout { return s.layout }

// Pager implements clientio.Lister. Metadata comes with every listing.
func (s *session) Pager(prefix, start string, _ bool) clientio.Pager {
	token := "" // of the next page
	return func(ctx context.Context) ([]clientio.Object, bool, error) {
		objects, next, err := s.page(ctx, prefix, start, token)
		if err == nil && next != "" && next == token {
			err = errors.New("listing does not go on")
		}
		token = next
		return objects, token != "", err
	}
}

// page fetches a page of a listing, with the token in the page before. The
// listings of package storage do not request the kind of the answer, without
// which an empty listing is an empty JSON object.
func (s *session) page(ctx context.Context, prefix, start, token string) ([]clientio.Object, string, error) {
	call := s.objects.List(s.bucketName).Context(ctx).Prefix(prefix).Projection("noAcl").MaxResults(pageSize).
		Fields("kind", "nextPageToken", "items(bucket,name,size,metadata,timeCreated,generation)")
	if start != "" {
		call.StartOffset(start)
	}
	if token != "" {
		call.PageToken(token)
	}
	answer, err := call.Do()
	if err != nil {
		return nil, "", s.fail(ctx, err)
	}
	objects := make([]clientio.Object, 0, len(answer.Items))
	for _, item := range answer.Items {
		switch {
		case item == nil || !strings.HasPrefix(item.Name, prefix):
			return nil, "", errors.New("answer lists names that were not asked for")
		case item.Bucket != "" && item.Bucket != s.bucketName:
			return nil, "", errors.New("answer is a listing of another bucket")
		case item.Size > math.MaxInt64:
			return nil, "", errors.New("answer lists a file of an impossible size")
		}
		objects = append(objects, clientio.Object{Key: item.Name, Size: int64(item.Size), CreatedAt: createdAt(item), Version: version(item)})
	}
	s.bucketFound.Store(true)
	return objects, answer.NextPageToken, nil
}

// version returns the generation of an object. No other object of that name
// ever has the same.
func version(item *raw.Object) string {
	if item.Generation == 0 {
		return ""
	}
	return strconv.FormatInt(item.Generation, 10)
}

// createdAt returns the timestamp of the LTX header, or the creation time of
// the object if a copy has lost the timestamp.
func createdAt(item *raw.Object) time.Time {
	for _, text := range []string{item.Metadata[MetadataKeyTimestamp], item.TimeCreated} {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

// delete deletes an object, if it exists.
func (s *session) delete(ctx context.Context, file clientio.File) error {
	key := s.layout.Key(file.Level, file.MinTXID, file.MaxTXID)
	err := s.bucket.Object(key).Delete(ctx)
	switch {
	case err == nil:
		s.bucketFound.Store(true)
		return nil
	case statusOf(err) == http.StatusNotFound:
		return s.checkBucket(ctx, key)
	case errors.As(err, new(*clientio.AnswerError)) && s.isGone(ctx, key):
		return nil
	}
	return s.fail(ctx, err)
}

// isGone reports whether a listing shows that no object has a name. It is for
// emulators whose answer to a deletion is ambiguous.
func (s *session) isGone(ctx context.Context, key string) bool {
	objects, _, err := s.page(ctx, key, "", "")
	return err == nil && len(objects) == 0
}

// checkBucket returns an error if the bucket, and not just an object, is
// missing. The service answers 404 in both cases. checkBucket makes a request,
// unless another request has succeeded before.
func (s *session) checkBucket(ctx context.Context, key string) error {
	if s.bucketFound.Load() {
		return nil
	}
	if _, _, err := s.page(ctx, key, "", ""); err != nil {
		return fmt.Errorf("look for bucket: %w", err)
	}
	return nil
}
