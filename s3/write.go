package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// WriteLTXFile implements replica.Client. A file of up to PartSize is stored by
// one request.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Write(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connect, (*conn).write)
}

// CreateLTXFile implements replica.LTXFileCreator. It returns
// errors.ErrUnsupported if NoConditionalPut is set, or if the server says that
// it knows no conditional puts. It cannot detect a server that ignores
// conditions silently, see NoConditionalPut. After a transient error it is not
// known whether the file was stored.
func (c *ReplicaClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return clientio.Create(ctx, clientio.NewFile(level, minTXID, maxTXID), r, c.connectToCreate, (*conn).write)
}

// connectToCreate is connect for files that must not exist yet.
func (c *ReplicaClient) connectToCreate(ctx context.Context) (*conn, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	if conn.noConditionalPut {
		return nil, conn.noCreate(errors.New("server knows no conditional puts"))
	}
	return conn, nil
}

// write stores a file and returns its size.
func (c *conn) write(ctx context.Context, file clientio.Upload) (int64, error) {
	p := &put{
		conn:     c,
		key:      c.layout.Key(file.Level, file.MinTXID, file.MaxTXID),
		metadata: map[string]string{metadataTimestamp: file.Timestamp.Format(time.RFC3339Nano)},
	}
	if file.Create {
		p.ifNoneMatch = aws.String("*")
	}
	return p.store(ctx, file.Body)
}

// noCreate returns the error for a server that cannot create files
// conditionally. It logs the error the first time.
func (c *conn) noCreate(err error) error {
	c.warnNoCreate.Do(func() {
		c.log.Warn("s3 server cannot create files conditionally: nothing keeps two writers apart", "bucket", c.bucket, "error", err)
	})
	return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
}

// put is the writing of one file.
type put struct {
	conn        *conn
	key         string
	metadata    map[string]string
	ifNoneMatch *string // nil if the file may replace another one
}

// store stores r and returns its size.
func (p *put) store(ctx context.Context, r io.Reader) (int64, error) {
	first, more, err := clientio.ReadPart(r, p.conn.partSize)
	if more && err == nil {
		// The body may end exactly here.
		var next [1]byte
		switch _, err = io.ReadFull(r, next[:]); {
		case err == nil:
			return p.multipart(ctx, func(ctx context.Context, uploadID *string) ([]types.CompletedPart, int64, error) {
				return p.parts(ctx, uploadID, first, io.MultiReader(bytes.NewReader(next[:]), r))
			})
		case errors.Is(err, io.EOF):
			err = nil
		default:
			err = fmt.Errorf("read body: %w", err)
		}
	}
	if err == nil {
		err = ctx.Err() // the body may have ended just as the context did
	}
	if err != nil {
		return 0, clientio.WithCause(ctx, err)
	}
	_, err = p.conn.api.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &p.conn.bucket, Key: &p.key, Body: bytes.NewReader(first), ContentLength: aws.Int64(int64(len(first))),
		Metadata: p.metadata, IfNoneMatch: p.ifNoneMatch, StorageClass: types.StorageClass(p.conn.storageClass),
		SSECustomerAlgorithm: p.conn.sse.algorithm, SSECustomerKey: p.conn.sse.key, SSECustomerKeyMD5: p.conn.sse.keyMD5,
		ServerSideEncryption: p.conn.sse.method, SSEKMSKeyId: p.conn.sse.kmsKeyID,
	})
	return int64(len(first)), p.failure(ctx, err)
}

// failure returns an error of the request that makes the file visible, in its
// class.
func (p *put) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if p.ifNoneMatch != nil {
		switch {
		case conditionFailed(err):
			return fmt.Errorf("%w: %w", p.conn.failure(ctx, err), fs.ErrExist)
		case errorStatus(err) == http.StatusNotImplemented:
			return p.conn.noCreate(p.conn.failure(ctx, err))
		}
	}
	return p.conn.failure(ctx, err)
}
