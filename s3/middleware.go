package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// middleware returns the changes to the requests of the SDK.
func (c *ReplicaClient) middleware(svc service, plain bool) []func(*middleware.Stack) error {
	out := []func(*middleware.Stack) error{
		// Proxies and Google change Accept-Encoding, which breaks a signature
		// that covers it.
		beforeSigning("LitestreamHeaders", func(_ context.Context, req *smithyhttp.Request) error {
			req.Header.Del("Accept-Encoding")
			for name, value := range svc.headers {
				req.Header.Set(name, value)
			}
			return nil
		}),
	}
	md5Of := map[string]bool{
		"DeleteObjects": c.RequireContentMD5 && !svc.noContentMD5,
		"PutObject":     c.PutObjectContentMD5,
		"UploadPart":    c.PutObjectContentMD5,
	}
	out = append(out, beforeSigning("LitestreamContentMD5", func(ctx context.Context, req *smithyhttp.Request) error {
		if !md5Of[awsmiddleware.GetOperationName(ctx)] {
			return nil
		}
		return addContentMD5(req)
	}))
	// Without TLS nothing else protects the body. By default the SDK signs only
	// some bodies.
	if !c.SignPayload && !plain {
		return append(out, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
	return append(out, func(stack *middleware.Stack) error {
		sign := &v4.ComputePayloadSHA256{}
		_, err := stack.Finalize.Swap(sign.ID(), sign)
		return err
	})
}

// beforeSigning returns a middleware that changes requests before they are
// signed.
func beforeSigning(id string, change func(context.Context, *smithyhttp.Request) error) func(*middleware.Stack) error {
	m := middleware.FinalizeMiddlewareFunc(id, func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		middleware.FinalizeOutput, middleware.Metadata, error,
	) {
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			if err := change(ctx, req); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
		}
		return next.HandleFinalize(ctx, in)
	})
	return func(stack *middleware.Stack) error { return stack.Finalize.Insert(m, "Signing", middleware.Before) }
}

func addContentMD5(req *smithyhttp.Request) error {
	h := md5.New()
	if _, err := io.Copy(h, req.GetStream()); err != nil {
		return fmt.Errorf("compute content md5: %w", err)
	}
	if err := req.RewindStream(); err != nil {
		return fmt.Errorf("compute content md5: %w", err)
	}
	req.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(h.Sum(nil)))
	return nil
}
