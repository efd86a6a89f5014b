package nats

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// Layout implements clientio.Lister.
func (s *session) Layout() clientio.Layout { return s.layout }

// Pager implements clientio.Lister. A listing has one page.
func (s *session) Pager(prefix, _ string, _ bool) clientio.Pager {
	return func(ctx context.Context) ([]clientio.Object, bool, error) {
		found := make(map[string]clientio.Object)
		err := s.list(ctx, prefix, func(key string, parse func() (*description, error)) error {
			if _, _, _, ok := s.layout.Parse(key); !ok {
				return nil
			}
			d, err := parse()
			if err != nil {
				return fmt.Errorf("object %s: %w", key, err)
			}
			if delete(found, key); !d.Deleted {
				s.objects.note(key, d)
				found[key] = clientio.Object{Key: key, Size: int64(d.Size), CreatedAt: d.timestamp(), Version: d.NUID}
			}
			return nil
		})
		page := slices.SortedFunc(maps.Values(found), func(a, b clientio.Object) int { return cmp.Compare(a.Key, b.Key) })
		return page, false, err
	}
}

// list calls fn for the descriptions of objects whose names begin with prefix, and
// for the marks that deletions left. A name that comes again was replaced meanwhile. fn
// parses those that it needs.
func (s *session) list(ctx context.Context, prefix string, fn func(key string, parse func() (*description, error)) error) error {
	var newest uint64
	config := jetstream.ConsumerConfig{FilterSubject: s.metaPrefix() + ">", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy}
	written := s.written.Load()
	err := s.scan(ctx, config, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		newest = max(newest, meta.Sequence.Stream)
		name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(msg.Subject(), s.metaPrefix()))
		if err != nil || !strings.HasPrefix(string(name), prefix) {
			return nil // another client's
		}
		return fn(string(name), func() (*description, error) {
			return parseDescription(msg.Data(), meta.Sequence.Stream, meta.Timestamp)
		})
	})
	if err == nil && newest < written && s.replicas > 1 {
		err = s.checkLag(ctx, written)
	}
	return err
}

// checkLag returns an error if the stream has a message that a listing did not
// show: the listing came from a replica of the stream that lags.
func (s *session) checkLag(ctx context.Context, sequence uint64) error {
	return s.call(ctx, readSubject, func(ctx context.Context) error {
		_, err := s.askLeader(ctx, map[string]any{"seq": sequence})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil // it was deleted meanwhile
		}
		if err == nil {
			err = errors.New("listing comes from a replica of the bucket that lags")
		}
		return err
	})
}

// Folder implements clientio.Surveyed.
func (s *session) Folder(ctx context.Context, prefix string, _ int) (names []string, more bool, err error) {
	found := make(map[string]bool)
	err = s.list(ctx, prefix, func(key string, parse func() (*description, error)) error {
		rest := strings.TrimPrefix(key, prefix)
		name, _, folder := strings.Cut(rest, "/")
		if folder {
			name += "/"
		}
		if found[prefix+name] {
			return nil
		}
		if d, err := parse(); err != nil || d.Deleted {
			return nil // a link, or none
		}
		found[prefix+name] = true
		return nil
	})
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) > clientio.MaxSurveyNames {
		names, more = names[:clientio.MaxSurveyNames], true
	}
	return names, more, err
}
