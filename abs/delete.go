package abs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	maxBatch          = 256 // the service's limit
	concurrentDeletes = 16
)

// DeleteLTXFiles implements replica.Client. It takes a request for 256 files,
// or for each file if the service does not accept batches.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	if err := c.delete(ctx, a); err != nil {
		return fmt.Errorf("delete ltx files: %w", err)
	}
	return nil
}

func (c *ReplicaClient) delete(ctx context.Context, a []*ltx.FileInfo) error {
	s, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if err := clientio.CheckInfos(a); err != nil {
		return err
	}
	keys := make([]string, len(a))
	for i, info := range a {
		keys[i] = s.layout.Key(info.Level, info.MinTXID, info.MaxTXID)
	}
	for chunk := range slices.Chunk(keys, maxBatch) {
		if err := s.deleteKeys(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// deleteKeys deletes up to maxBatch blobs.
func (s *session) deleteKeys(ctx context.Context, keys []string) error {
	refused := false
	if len(keys) > 1 && !s.noBatch.Load() {
		err := s.deleteBatch(ctx, keys)
		if refused = errors.Is(err, errBatchRefused); !refused {
			return err
		}
	}
	if err := s.deleteEach(ctx, keys); err != nil {
		return err
	}
	if refused { // and the credential was not the reason
		s.noBatch.Store(true)
	}
	return nil
}

// deleteEach deletes blobs with a request for each.
func (s *session) deleteEach(ctx context.Context, keys []string) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(concurrentDeletes)
	for _, key := range keys {
		group.Go(func() error {
			if err := groupCtx.Err(); err != nil {
				return err
			}
			_, err := s.container.NewBlobClient(key).Delete(asking(groupCtx, requestDelete), nil)
			if err != nil && !hasCode(err, bloberror.BlobNotFound) {
				return s.explain(groupCtx, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// errBatchRefused means that the service does not accept a batch, as a whole or
// in part, with this account or credential.
var errBatchRefused = errors.New("batch refused")

// deleteBatch deletes blobs with one request.
func (s *session) deleteBatch(ctx context.Context, keys []string) error {
	batch, err := s.newBatch(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := batch.Delete(key, nil); err != nil {
			return clientio.WithoutURL(err)
		}
	}
	var resp *http.Response
	answer, err := s.submit(policy.WithCaptureResponse(asking(ctx, requestBatch), &resp), batch)
	if resp != nil {
		_ = resp.Body.Close() // the SDK does not close it
	}
	if err != nil {
		return s.batchError(ctx, resp, err)
	}
	if len(answer.Responses) != len(keys) {
		return errBatchRefused // the answer lacks the result of a part
	}
	for _, item := range answer.Responses {
		if item.Error != nil && !hasCode(item.Error, bloberror.BlobNotFound) {
			return s.batchError(ctx, nil, item.Error)
		}
	}
	return nil
}

// newBatch returns an empty batch. Its parts will be signed with the session's
// credential.
func (s *session) newBatch(ctx context.Context) (*container.BatchBuilder, error) {
	client := s.container
	if s.cred.token != nil {
		// By default the SDK requests the token without a context.
		var err error
		if client, err = container.NewClient(client.URL(), boundToken{s.cred.token, ctx}, nil); err != nil {
			return nil, clientio.WithoutURL(err)
		}
	}
	batch, err := client.NewBatchBuilder()
	if err != nil {
		return nil, clientio.WithoutURL(err)
	}
	return batch, nil
}

// submit sends a batch. The SDK does not check what the answer says about its
// parts.
func (s *session) submit(ctx context.Context, batch *container.BatchBuilder) (answer container.SubmitBatchResponse, err error) {
	defer func() {
		if recover() != nil {
			err = errBatchRefused
		}
	}()
	return s.container.SubmitBatch(ctx, batch, nil)
}

// batchError returns the error of a batch, or of a part of it. resp is the
// answer to the batch, or nil.
func (s *session) batchError(ctx context.Context, resp *http.Response, err error) error {
	var answer *azcore.ResponseError
	explained := s.explain(ctx, err)
	switch {
	case ctx.Err() != nil:
		return explained
	case errors.As(err, new(*clientio.AnswerError)):
		return errBatchRefused // the results of single requests are certain
	case errors.As(err, &answer):
		switch status := answer.StatusCode; {
		case status == http.StatusInternalServerError && answer.ErrorCode == "":
			return errBatchRefused // the only answer of Azurite to an insufficient credential
		case status >= 500 && status != http.StatusNotImplemented,
			status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
			return explained
		}
		return errBatchRefused
	case resp != nil:
		return errBatchRefused // the error describes the answer, and may quote it
	}
	return explained
}
