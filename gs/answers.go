package gs

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const (
	// maxListing is the limit in bytes of a page of a listing. A thousand
	// objects with the longest names and the most metadata take less.
	maxListing = 16 << 20

	// storePrefix is the prefix of the service's own headers.
	storePrefix = "X-Goog-"

	kindObjects = "storage#objects"
	kindObject  = "storage#object"
)

// wanted returns what the answer to a request must be like. The libraries take
// every answer with status 200 for a success, whatever its body is.
func wanted(req *http.Request) clientio.Answer {
	query := req.URL.Query()
	switch {
	case query.Has("upload_id") && req.Method == http.MethodDelete:
		return clientio.Answer{} // the answer does not matter
	case query.Get("uploadType") == "resumable" && !query.Has("upload_id"):
		return clientio.Answer{Check: func(resp *http.Response, _ []byte) string { return checkSession(req.URL, resp) }}
	case query.Has("upload_id"):
		return clientio.Answer{Check: checkPart(req.Header.Get("Content-Range"))}
	case query.Has("uploadType"):
		return clientio.Answer{Check: wantKind(kindObject)}
	case req.Method == http.MethodDelete:
		return clientio.Answer{Check: checkDeleted}
	case query.Get("alt") == "media":
		return clientio.Answer{Data: true} // bodyLength checks it
	}
	return clientio.Answer{Limit: maxListing, Check: wantKind(kindObjects)}
}

// wantKind returns a check that an answer is a complete JSON object of a kind.
func wantKind(kind string) func(*http.Response, []byte) string {
	return func(_ *http.Response, body []byte) string {
		var got struct {
			Kind string `json:"kind"`
		}
		if json.Unmarshal(body, &got) != nil {
			return "answer is no json object"
		}
		if got.Kind != kind {
			return "answer is not of kind " + kind
		}
		return ""
	}
}

// checkSession checks the answer that begins a resumable upload. The next
// requests of the upload go to the address in that answer, with credentials.
func checkSession(asked *url.URL, resp *http.Response) string {
	session, err := url.Parse(resp.Header.Get("Location"))
	switch {
	case err != nil || session.Host == "":
		return "answer does not tell where to upload"
	case session.Scheme != asked.Scheme || session.Host != asked.Host:
		return "answer says to upload to another host"
	}
	return ""
}

// checkPart returns a check of the answer to a part of a resumable upload. The
// request has the given Content-Range. An answer to any part but the last has to
// say that the upload goes on: otherwise Google's library takes the upload for
// complete, and waits for ever for the rest of the file to be read.
func checkPart(contentRange string) func(*http.Response, []byte) string {
	sent, total, _ := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	if total != "*" {
		return wantKind(kindObject) // the last part
	}
	_, last, _ := strings.Cut(sent, "-")
	return func(resp *http.Response, _ []byte) string {
		if resp.Header.Get("X-Http-Status-Code-Override") != "308" {
			return "answer does not say that the upload goes on"
		}
		if resp.Header.Get("Range") != "bytes=0-"+last {
			return "answer says that other bytes were stored than were sent"
		}
		return ""
	}
}

func checkDeleted(resp *http.Response, _ []byte) string {
	if resp.StatusCode != http.StatusNoContent {
		return "answer does not tell of a deletion"
	}
	return ""
}
