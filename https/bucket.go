package https

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// bucket lists files by the XML of S3, which public buckets of several services
// have.
type bucket struct {
	s      *session
	root   *url.URL // address of the bucket
	prefix string   // what the names of the replica's files begin with
	hex    atomic.Bool
}

// findBucket looks for a listing of a bucket, whose name is in the host or is the
// first part of the path.
func findBucket(ctx context.Context, s *session) (lister, error) {
	path := strings.TrimPrefix(s.base.Path, "/")
	first, rest, _ := strings.Cut(path, "/")
	var found *bucket
	for _, b := range []*bucket{
		{s: s, root: &url.URL{Scheme: s.base.Scheme, Host: s.base.Host, Path: "/"}, prefix: path},
		{s: s, root: &url.URL{Scheme: s.base.Scheme, Host: s.base.Host, Path: "/" + first}, prefix: rest},
	} {
		files, err := b.pages(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && (found == nil || len(files) > 0):
			found = b
		}
	}
	if found == nil {
		return nil, clientio.ErrAbsent
	}
	return found, nil
}

// find implements lister. It does not know whether the file exists.
func (b *bucket) find(_ context.Context, f clientio.File) (*url.URL, error) {
	layout := plainLayout
	if b.hex.Load() {
		layout = hexLayout
	}
	return b.s.url(nameOf(layout, f)), nil
}

// listing is a page of a listing.
type listing struct {
	Prefix   *string
	Contents []struct {
		Key          string
		Size         *int64
		LastModified time.Time
	}
	IsTruncated           bool
	NextContinuationToken string
}

// list implements lister.
func (b *bucket) list(ctx context.Context, _ time.Time) ([]listed, error) {
	files, err := b.pages(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := b.s.checkNewest(ctx, b, files); err != nil {
		return nil, err
	}
	b.s.readNewest(ctx, b, files)
	return files, nil
}

// pages returns the files in all pages of the listing, in order of level and TXIDs.
func (b *bucket) pages(ctx context.Context) (files []listed, err error) {
	for token := ""; ; {
		query := url.Values{"list-type": {"2"}, "prefix": {b.prefix}}
		if token != "" {
			query.Set("continuation-token", token)
		}
		u := *b.root
		u.RawQuery = query.Encode()
		doc, err := b.s.get(ctx, &u, nil)
		if err != nil {
			return nil, looking("listing of the bucket", err)
		}
		page, next, err := parseListing(doc.body, b.prefix)
		if err != nil {
			return nil, looking("listing of the bucket", err)
		}
		for _, f := range page {
			if f.name == nameOf(hexLayout, f.File) {
				b.hex.Store(true)
			}
		}
		files = append(files, page...)
		switch next {
		case "":
			sortFiles(files)
			return files, nil
		case token:
			return nil, errors.New("listing of the bucket does not go on")
		}
		token = next
	}
}

// parseListing returns the files in a page of a listing of what begins with prefix, and
// the token of the next page, or "".
func parseListing(body []byte, prefix string) (files []listed, next string, err error) {
	if wrong := clientio.CheckXML(body, "ListBucketResult"); wrong != "" {
		return nil, "", errors.New(wrong)
	}
	var page listing
	if err := xml.Unmarshal(body, &page); err != nil {
		return nil, "", err
	}
	for _, o := range page.Contents {
		name, ok := strings.CutPrefix(o.Key, prefix)
		if !ok || o.Size == nil || *o.Size < 0 {
			return nil, "", fmt.Errorf("%.80q was not asked for, or has no size", o.Key)
		}
		if f, _, ok := parseName(name); ok {
			files = append(files, listed{File: f, name: name, size: *o.Size, createdAt: o.LastModified.UTC()})
		}
	}
	if page.IsTruncated && page.NextContinuationToken == "" {
		return nil, "", errors.New("there are more files, and it does not say how to go on")
	}
	if !page.IsTruncated {
		return files, "", nil
	}
	return files, page.NextContinuationToken, nil
}
