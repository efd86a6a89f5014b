package abs

import (
	"bytes"
	"context"
	"fmt"
	"mime"
	"net/http"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// maxListing is several times the size of the largest answer of the
	// service, a page of 5,000 blobs.
	maxListing = 64 << 20

	// storePrefix is the prefix of the service's own headers.
	storePrefix = "X-Ms-"
)

// request is a kind of request.
type request string

const (
	requestList   request = "list"
	requestRead   request = "read"
	requestPut    request = "put"   // makes a blob
	requestBlock  request = "block" // stores a part of one
	requestDelete request = "delete"
	requestBatch  request = "batch"
	requestToken  request = "token" // sent before one of the others
)

// requestKey is the key of the request in a context.
type requestKey struct{}

// asking returns a context for requests of a kind.
func asking(ctx context.Context, kind request) context.Context {
	return context.WithValue(ctx, requestKey{}, kind)
}

// wanted returns what the answer to a request of the SDK must be like. The SDK
// checks the status, but takes most other documents for empty ones.
func wanted(req *http.Request) clientio.Answer {
	switch kind, _ := req.Context().Value(requestKey{}).(request); kind {
	case requestRead:
		return clientio.Answer{Data: true} // checkAnswer checks it
	case requestList:
		return clientio.Answer{Limit: maxListing, Check: func(resp *http.Response, body []byte) string {
			if wrong := checkStore(resp, http.StatusOK); wrong != "" {
				return wrong
			}
			return clientio.CheckXML(body, "EnumerationResults")
		}}
	case requestPut:
		return clientio.Answer{Check: func(resp *http.Response, body []byte) string {
			if resp.Header.Get("Etag") == "" {
				return "answer does not tell the etag of what was stored"
			}
			return checkEmpty(resp, http.StatusCreated, body)
		}}
	case requestBlock:
		return clientio.Answer{Check: func(resp *http.Response, body []byte) string {
			return checkEmpty(resp, http.StatusCreated, body)
		}}
	case requestDelete:
		return clientio.Answer{Check: func(resp *http.Response, body []byte) string {
			return checkEmpty(resp, http.StatusAccepted, body)
		}}
	case requestBatch:
		return clientio.Answer{Check: func(resp *http.Response, _ []byte) string {
			mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			if mediaType != "multipart/mixed" {
				return "answer is not that to a batch"
			}
			return checkStore(resp, http.StatusAccepted)
		}}
	}
	return clientio.Answer{}
}

// checkStore checks the status of a success, and that it has the service's
// headers.
func checkStore(resp *http.Response, status int) string {
	switch {
	case resp.StatusCode != status:
		return fmt.Sprintf("answer does not have the status %d", status)
	case !clientio.IsStore(resp.Header, storePrefix):
		return "answer has no header of the service"
	}
	return ""
}

// checkEmpty checks a success without a body.
func checkEmpty(resp *http.Response, status int, body []byte) string {
	if len(bytes.TrimSpace(body)) > 0 {
		return "answer has a body that says something else"
	}
	return checkStore(resp, status)
}
