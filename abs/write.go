package abs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// WriteLTXFile implements replica.Client. A body of up to PartSize is sent in
// one request.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// CreateLTXFile implements replica.LTXFileCreator. It is never unsupported.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*session).write)
}

// write stores a file and returns its size.
func (s *session) write(ctx context.Context, file clientio.Upload) (int64, error) {
	u := s.newUpload(file)
	first, more, err := clientio.ReadPart(file.Body, s.partSize)
	if err == nil {
		err = ctx.Err() // the body may have ended just as the context did
	}
	switch {
	case err != nil:
		return 0, err
	case more:
		return u.putParts(ctx, first, file.Body)
	}
	return int64(len(first)), u.put(ctx, first)
}

// upload is the sending of one blob.
type upload struct {
	*session
	blob     *blockblob.Client
	metadata map[string]*string
	headers  *blob.HTTPHeaders
	access   *blob.AccessConditions // nil if the blob may replace another one
}

func (s *session) newUpload(file clientio.Upload) *upload {
	formatted, contentType := file.Timestamp.Format(time.RFC3339Nano), "application/octet-stream"
	u := &upload{
		session:  s,
		blob:     s.container.NewBlockBlobClient(s.layout.Key(file.Level, file.MinTXID, file.MaxTXID)),
		metadata: map[string]*string{MetadataKeyTimestamp: &formatted},
		headers:  &blob.HTTPHeaders{BlobContentType: &contentType},
	}
	if file.Create {
		none := azcore.ETagAny
		u.access = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &none}}
	}
	return u
}

// put sends the blob in one request.
func (u *upload) put(ctx context.Context, content []byte) error {
	_, err := u.blob.Upload(asking(ctx, requestPut), newBody(content), &blockblob.UploadOptions{
		HTTPHeaders: u.headers, Metadata: u.metadata, AccessConditions: u.access,
	})
	return u.result(ctx, err)
}

// result returns the error of the request that makes the blob visible, in its
// class.
func (u *upload) result(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case u.access != nil && (hasCode(err, bloberror.BlobAlreadyExists) || hasStatus(err, http.StatusPreconditionFailed)):
		return fs.ErrExist
	}
	return u.explain(ctx, err)
}

// partRetry is for the only requests that are repeated. Their bodies are in
// memory, and their effect is not visible yet.
var partRetry = policy.RetryOptions{MaxRetries: 2, RetryDelay: 100 * time.Millisecond, MaxRetryDelay: 2 * time.Second}

// body is the body of a request, in memory.
type body struct {
	io.ReadSeekCloser
	content []byte
}

func newBody(content []byte) *body {
	return &body{streaming.NopCloser(bytes.NewReader(content)), content}
}

// bodyPolicy gives each try of a request its own reader of the body. Without
// it, all tries share one reader, and the transport may still be reading for a
// try that the server answered early when the SDK rewinds for the next one.
type bodyPolicy struct{}

// Do implements policy.Policy.
func (bodyPolicy) Do(req *policy.Request) (*http.Response, error) {
	if b, ok := req.Body().(*body); ok {
		req.Raw().Body = io.NopCloser(bytes.NewReader(b.content))
	}
	return req.Next()
}

// putParts sends first and r as blocks, and makes them the blob. It returns the
// size of the blob. At most u.concurrency parts are in memory.
func (u *upload) putParts(ctx context.Context, first []byte, r io.Reader) (size int64, err error) {
	group, sendCtx := errgroup.WithContext(ctx)
	fail := func(err error) { group.Go(func() error { return err }) }
	slots := make(chan struct{}, u.concurrency)
	slots <- struct{}{}

	var ids []string
	newID := newBlockIDs()
	for part, more := first, true; len(part) > 0; {
		if len(ids) == maxParts {
			fail(clientio.Permanent(fmt.Errorf("more than %d parts of %d bytes", maxParts, u.partSize)))
			break
		}
		id, content := newID(), part
		ids = append(ids, id)
		size += int64(len(content))
		group.Go(func() error {
			defer func() { <-slots }()
			return u.putPart(sendCtx, id, content)
		})
		if part = nil; !more {
			break
		}
		select {
		case slots <- struct{}{}:
			if part, more, err = clientio.ReadPart(r, u.partSize); err != nil {
				fail(err)
			}
		case <-sendCtx.Done(): // a part failed, or ctx is done
		}
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	_, err = u.blob.CommitBlockList(asking(ctx, requestPut), ids, &blockblob.CommitBlockListOptions{
		HTTPHeaders: u.headers, Metadata: u.metadata, AccessConditions: u.access,
	})
	return size, u.result(ctx, err)
}

func (u *upload) putPart(ctx context.Context, id string, content []byte) error {
	_, err := u.blob.StageBlock(policy.WithRetryOptions(asking(ctx, requestBlock), partRetry), id, newBody(content), nil)
	if err != nil {
		return fmt.Errorf("send part: %w", u.explain(ctx, err))
	}
	return nil
}

// newBlockIDs returns a function that makes the IDs of an upload's blocks.
// Blocks that are not committed belong to the name of the blob, and not to
// their sender, so two uploads must not use the same IDs. The service refuses a
// block whose ID has another length than those of the blob's other blocks, and
// keeps what a killed upload leaves for a week. So the IDs are as long as those
// of the SDK's uploads, which Litestream uses.
func newBlockIDs() func() string {
	var id [64]byte
	_, _ = rand.Read(id[:16]) // never fails
	var n uint32
	return func() string {
		binary.BigEndian.PutUint32(id[16:], n)
		n++
		return base64.StdEncoding.EncodeToString(id[:])
	}
}
