package s3

import (
	"bytes"
	"context"
	"io"
	"net/http"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// maxListing is the limit in bytes of a page of a listing. A thousand names of
// the greatest length take less than half of it.
const maxListing = 16 << 20

// storePrefixes are the prefixes of headers that only S3, or Google's service
// for S3, sends.
var storePrefixes = []string{"X-Amz-", "X-Goog-"}

// wanted returns what the answer to a request of the SDK must be like. The SDK
// takes every answer with status 200 for a success, whatever its body is.
func wanted(req *http.Request) clientio.Answer {
	switch awsmiddleware.GetOperationName(req.Context()) {
	case "GetObject":
		return clientio.Answer{Data: true} // clientio.BodyLength checks it
	case "ListObjectsV2":
		return clientio.Answer{Limit: maxListing, Check: wantDocument("ListBucketResult")}
	case "CreateMultipartUpload":
		return clientio.Answer{Check: wantDocument("InitiateMultipartUploadResult")}
	case "CompleteMultipartUpload":
		// An error that the server finds late comes with status 200. The SDK
		// handles it.
		return clientio.Answer{Check: wantDocument("CompleteMultipartUploadResult", "Error")}
	case "UploadPartCopy": // the same
		return clientio.Answer{Check: wantDocument("CopyPartResult", "Error")}
	case "DeleteObjects":
		return clientio.Answer{Check: wantDocument("DeleteResult")}
	case "PutObject", "UploadPart":
		return clientio.Answer{Check: checkStored}
	case "DeleteObject", "AbortMultipartUpload":
		return clientio.Answer{Check: checkDeleted}
	case "CreateSession":
		return clientio.Answer{Check: wantDocument("CreateSessionResult")}
	case "HeadBucket":
		return clientio.Answer{Check: func(resp *http.Response, _ []byte) string {
			if !clientio.IsStore(resp.Header, storePrefixes...) {
				return "answer does not describe a bucket"
			}
			return ""
		}}
	}
	return clientio.Answer{} // HeadObject: timestamp checks it
}

func wantDocument(roots ...string) func(*http.Response, []byte) string {
	return func(_ *http.Response, body []byte) string { return clientio.CheckXML(body, roots...) }
}

// checkStored checks the answer to a request that stores something.
func checkStored(resp *http.Response, body []byte) string {
	switch {
	case resp.Header.Get("Etag") == "":
		return "answer does not tell the etag of what was stored"
	case clientio.IsPage(resp.Header):
		return "answer is a page"
	case len(bytes.TrimSpace(body)) > 0 && clientio.CheckXML(body, "PutObjectResult", "UploadPartResult") != "":
		return "answer has a body that says something else"
	}
	return ""
}

// checkDeleted checks the answer to a request that deletes one object.
func checkDeleted(resp *http.Response, body []byte) string {
	if resp.StatusCode == http.StatusNoContent {
		return ""
	}
	if !clientio.IsStore(resp.Header, storePrefixes...) || len(bytes.TrimSpace(body)) > 0 {
		return "answer does not tell of a deletion"
	}
	return ""
}

// limitAnswers limits the answers of the services that hand out credentials,
// because the SDK reads these answers to their end.
func limitAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("LitestreamLimit", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		resp, ok := out.RawResponse.(*smithyhttp.Response)
		if ok && resp.Body != nil {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(resp.Body, clientio.MaxAnswer), resp.Body}
		}
		return out, metadata, err
	}), middleware.After)
}
