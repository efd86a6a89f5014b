package oss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// storePrefix is the prefix of headers that only the service sends.
const storePrefix = "X-Oss-"

// maxListing is the limit in bytes of a page of a listing. A thousand names of the
// greatest length take less than half of it.
const maxListing = 16 << 20

// wanted returns what the answer to a request of the SDK must be like.
func wanted(req *http.Request) clientio.Answer {
	query := req.URL.Query()
	document := func(root string) clientio.Answer {
		return clientio.Answer{Check: func(_ *http.Response, body []byte) string { return clientio.CheckXML(body, root) }}
	}
	switch {
	case req.Method == http.MethodGet && query.Has("list-type"):
		return clientio.Answer{Limit: maxListing, Check: func(_ *http.Response, body []byte) string {
			if wrong := clientio.CheckXML(body, "ListBucketResult"); wrong != "" {
				return wrong
			}
			if !bytes.Contains(body, []byte("<IsTruncated>")) {
				return "answer does not tell whether it is the whole listing"
			}
			return ""
		}}
	case req.Method == http.MethodGet && query.Has("versioning"):
		return document("VersioningConfiguration")
	case req.Method == http.MethodGet:
		return clientio.Answer{Data: true} // clientio.BodyLength checks it
	case req.Method == http.MethodPost && query.Has("uploads"):
		return document("InitiateMultipartUploadResult")
	case req.Method == http.MethodPost && query.Has("uploadId"):
		return document("CompleteMultipartUploadResult")
	case req.Method == http.MethodPost && query.Has("delete"):
		return document("DeleteResult")
	case req.Method == http.MethodPut:
		return clientio.Answer{Check: func(resp *http.Response, _ []byte) string {
			if !clientio.IsObject(resp.Header, storePrefix) {
				return "answer does not tell the etag of what was stored"
			}
			return ""
		}}
	}
	return clientio.Answer{Check: func(resp *http.Response, _ []byte) string {
		if !clientio.IsStore(resp.Header, storePrefix) || clientio.IsPage(resp.Header) {
			return "answer does not come from the service"
		}
		return ""
	}}
}

// statusOf returns the HTTP status and the code in an error of the service, or
// nothing.
func statusOf(err error) (status int, code string) {
	var service *oss.ServiceError
	if errors.As(err, &service) {
		return service.StatusCode, service.Code
	}
	return 0, ""
}

// fail returns the error of a request in its class, without credentials. The
// caller decides what a missing object and an object that exists mean.
func (s *session) fail(ctx context.Context, err error) error {
	var service *oss.ServiceError
	var wrong *clientio.AnswerError
	var decoding *oss.DeserializationError
	switch {
	case errors.Is(err, errNoKeys):
		err = fmt.Errorf("%w (%w)", errNoKeys, fs.ErrPermission)
	case errors.As(err, &wrong):
		err = wrong.Show(s.creds.redact)
	case errors.As(err, &service):
		err = s.serviceError(service)
	case ctx.Err() != nil:
		return ctx.Err() // the other error says no more
	case errors.As(err, &decoding):
		err = errors.New("answer of the service cannot be read")
	default:
		err = fmt.Errorf("send request: %w", clientio.WithoutURL(err))
	}
	return clientio.WithCause(ctx, err)
}

func (s *session) serviceError(e *oss.ServiceError) error {
	text := s.creds.redact(e.Code)
	if message := s.creds.redact(e.Message); message != "" {
		text += ": " + message
	}
	switch {
	case e.Code == "RequestTimeTooSkewed":
		return fmt.Errorf("http status %d: %s: the clock of this machine differs too much from the server's (%w)", e.StatusCode, text, fs.ErrPermission)
	case e.Code == "InvalidObjectState":
		return clientio.Permanent(fmt.Errorf("http status %d: %s: the file is archived", e.StatusCode, text))
	case e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden:
		return fmt.Errorf("credentials from %s: %w", s.creds.source, clientio.StatusError(e.StatusCode, text))
	case e.StatusCode == http.StatusConflict, e.Code == "RequestTimeout", e.Code == "NoSuchUpload":
		return fmt.Errorf("http status %d: %s", e.StatusCode, text) // it passes
	}
	return clientio.StatusError(e.StatusCode, text)
}
