package clientio

import (
	"context"
	"io"
	"net/http"
)

// ObjectAnswer is the answer to a read of an object, with the findings of the
// store's client.
type ObjectAnswer struct {
	Response *http.Response
	IsObject bool                // the store has sent it, see the function IsObject
	Ranged   bool                // the body is a range of the object
	Length   int64               // of the body
	Version  string              // see CheckVersion
	Wrong    error               // what is wrong with the answer, or nil
	Redact   func(string) string // takes secrets out of the text of an answer; nil: there are none
}

// Body returns the body, or closes it and returns an error. The error is an
// AnswerError if the answer is wrong and does not show that it comes from the
// store.
func (a ObjectAnswer) Body(ctx context.Context) (io.ReadCloser, error) {
	if a.IsObject || a.Wrong == nil && a.Ranged {
		if err := CheckVersion(ctx, a.Version); err != nil {
			_ = a.Response.Body.Close() // of another version
			return nil, err
		}
	}
	switch {
	case a.Wrong != nil && a.IsObject:
		_ = a.Response.Body.Close() // the error says everything
		return nil, a.Wrong
	case a.Wrong != nil:
		return nil, RefuseBody(a.Response, a.Wrong.Error()).Show(a.Redact)
	}
	body := NewBody(ctx, a.Response.Body, a.Length)
	if a.IsObject || a.Ranged {
		return body, nil
	}
	return CheckBegin(body, func(begin []byte) error {
		return NewAnswerError(a.Response, begin, "answer is no ltx file").Show(a.Redact)
	}), nil
}
