package gs

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// pageSize is the most objects that the service lists at once.
const pageSize = 1000

// pager lists the objects with a prefix from a name on, if it is not empty.
func (s *session) pager(ctx context.Context, operation, prefix, start string) clientio.Pager {
	query := &storage.Query{Prefix: prefix, StartOffset: start, Projection: storage.ProjectionNoACL}
	err := query.SetAttrSelection([]string{"Name", "Size", "Metadata", "Created"})
	pager := iterator.NewPager(s.bucket.Objects(ctx, query), pageSize, "")
	return func(ctx context.Context) ([]clientio.Object, bool, error) {
		var attrs []*storage.ObjectAttrs
		var token string
		if err == nil {
			token, err = pager.NextPage(&attrs)
		}
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", operation, s.fail(ctx, err))
		}
		s.bucketFound.Store(true)
		objects := make([]clientio.Object, len(attrs))
		for i, a := range attrs {
			objects[i] = clientio.Object{Key: a.Name, Size: a.Size, CreatedAt: createdAt(a)}
		}
		return objects, token != "", nil
	}
}

// createdAt returns the timestamp of the LTX header, or that of the object
// where a copy has lost it.
func createdAt(a *storage.ObjectAttrs) time.Time {
	if t, err := time.Parse(time.RFC3339Nano, a.Metadata[MetadataKeyTimestamp]); err == nil {
		return t
	}
	return a.Created
}

// delete deletes an object, if there is one.
func (s *session) delete(ctx context.Context, key string) error {
	err := s.bucket.Object(key).Delete(ctx)
	switch {
	case err == nil:
		s.bucketFound.Store(true)
		return nil
	case statusOf(err) == http.StatusNotFound:
		return s.checkBucket(ctx, key)
	}
	return s.fail(ctx, err)
}

// checkBucket returns an error if what is missing is not an object but the
// bucket: the service answers 404 to both. It makes a request unless some
// other was successful before.
func (s *session) checkBucket(ctx context.Context, key string) error {
	if s.bucketFound.Load() {
		return nil
	}
	if _, _, err := s.pager(ctx, "look for bucket", key, "")(ctx); err != nil {
		return err
	}
	return nil
}
