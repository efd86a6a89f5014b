package clientio

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
)

// Limits of bodies that hold no LTX data, in bytes.
const (
	// MaxErrorText is how much is read of the body of an error. The rest is
	// ignored, because an error begins with what matters.
	MaxErrorText = 64 << 10

	// MaxAnswer is the limit of answers with a few fields: tokens, and the
	// answers of the stores to puts and deletions.
	MaxAnswer = 4 << 20
)

// An Answer describes how a store answers a request. Other servers answer with
// success, too: captive portals, proxies, load balancers, web servers at a
// wrong address.
type Answer struct {
	// Data says that a success with status 200 or 206 has LTX data as its body.
	// The body is passed on, and its reader checks it.
	Data bool

	// Limit is the limit in bytes of the body of a success that is not data.
	// Zero: MaxAnswer.
	Limit int64

	// Check returns what is wrong with a success, or "". It gets the whole
	// body, or nil if the body is data. A nil Check accepts every success.
	Check func(resp *http.Response, body []byte) string
}

// AnswerError means that an answer with a status of success does not come from
// the store. It is transient. Its text contains nothing of the answer's body.
type AnswerError struct {
	Status int
	Type   string // media type, or empty
	Wrong  string // what is wrong with the answer
	text   string // the beginning of the body, without long words
}

func (e *AnswerError) Error() string {
	text := fmt.Sprintf("http status %d", e.Status)
	if e.Type != "" {
		text += ", " + e.Type
	}
	return text + ": " + e.Wrong + ": something else than the store may have answered"
}

// Show returns e with the beginning of the answer. redact, if not nil, removes
// secrets from it.
func (e *AnswerError) Show(redact func(string) string) error {
	const limit = 100
	text := e.text
	if redact != nil {
		text = redact(text)
	}
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	if text == "" {
		text = "nothing"
	}
	return fmt.Errorf("%w, with %q", e, text)
}

// NewAnswerError returns the error for an answer whose body begins with body.
func NewAnswerError(resp *http.Response, body []byte, wrong string) *AnswerError {
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || len(mediaType) > 80 {
		mediaType = ""
	}
	return &AnswerError{Status: resp.StatusCode, Type: mediaType, Wrong: wrong, text: excerpt(body)}
}

var (
	title    = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title`)
	longWord = regexp.MustCompile(`[0-9A-Za-z+/=_%~.-]{20,}`)
)

// excerpt returns the title of an HTML page, or the beginning of any other
// text. It leaves out long words, which may be keys, tokens or signatures.
func excerpt(body []byte) string {
	body = body[:min(len(body), 4<<10)]
	if m := title.FindSubmatch(body); m != nil {
		body = m[1]
	}
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "?")), " ")
	return longWord.ReplaceAllString(text, "[...]")
}

// receive checks an answer against a, and limits its body. It closes the body
// if it returns an error.
func (a Answer) receive(resp *http.Response) error {
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return receiveError(resp)
	}
	if a.Data && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent) {
		if wrong := a.check(resp, nil); wrong != "" {
			return RefuseBody(resp, wrong)
		}
		return nil
	}
	limit := a.Limit
	if limit == 0 {
		limit = MaxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	_ = resp.Body.Close() // the rest does not matter
	switch {
	case err != nil:
		return fmt.Errorf("read answer: %w", err)
	case int64(len(body)) > limit:
		return NewAnswerError(resp, body, fmt.Sprintf("answer is too large, of more than %d bytes", limit))
	}
	if wrong := a.check(resp, body); wrong != "" {
		return NewAnswerError(resp, body, wrong)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// receiveError limits the body of an error. An error that would mean that a
// file is missing, exists already or is too short must not be a page: then
// another server than the store has refused the request.
func receiveError(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
	default:
		resp.Body = limitedBody{io.LimitReader(resp.Body, MaxErrorText), resp.Body}
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, MaxErrorText)) // the part that was read says enough
	_ = resp.Body.Close()                                          // the rest does not matter
	if isHTML(resp.Header, body) {
		return NewAnswerError(resp, body, "answer is a page")
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// isHTML reports whether the body of an error is a page, or would be one if the
// method of the request allowed a body. Google sends plain text with the media
// type of a page.
func isHTML(h http.Header, body []byte) bool {
	body = bytes.TrimSpace(body)
	switch {
	case strings.HasPrefix(http.DetectContentType(body), "text/html"):
		return true
	case !IsPage(h):
		return false
	}
	return len(body) == 0 || body[0] == '<' || bytes.HasPrefix(body, []byte("\xff\xfe")) || bytes.HasPrefix(body, []byte("\xfe\xff"))
}

func (a Answer) check(resp *http.Response, body []byte) string {
	if a.Check == nil {
		return ""
	}
	return a.Check(resp, body)
}

type limitedBody struct {
	io.Reader
	io.Closer
}

// Checked returns a transport that checks the answers of base against the
// Answer that want returns for the request. An answer that fails the check is
// an AnswerError.
func Checked(base http.RoundTripper, want func(*http.Request) Answer) http.RoundTripper {
	return checked{base, want}
}

// Limited returns a transport that limits the bodies of all answers, and
// accepts every answer.
func Limited(base http.RoundTripper) http.RoundTripper {
	return checked{base, func(*http.Request) Answer { return Answer{} }}
}

type checked struct {
	http.RoundTripper
	want func(*http.Request) Answer
}

// RoundTrip implements http.RoundTripper.
func (c checked) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := c.want(req).receive(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// CheckXML returns what is wrong with the document of an answer, or "". The
// document must have one of the root elements and must be complete. CheckXML
// does not look at the content of the root element.
func CheckXML(body []byte, roots ...string) string {
	root, err := xmlRoot(body)
	if err != nil {
		return "answer is no xml"
	}
	for _, want := range roots {
		if root == want {
			return checkXMLEnd(body, root)
		}
	}
	return fmt.Sprintf("answer is an xml document %.40q, not %s", root, strings.Join(roots, " or "))
}

func xmlRoot(body []byte) (string, error) {
	decoder := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\ufeff"))))
	for {
		token, err := decoder.Token()
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.StartElement:
			return token.Name.Local, nil
		case xml.CharData:
			if len(bytes.TrimSpace(token)) > 0 {
				return "", errors.New("text before the root element")
			}
		case xml.Directive:
			return "", errors.New("document type") // no store sends one
		}
	}
}

// checkXMLEnd checks that a document ends with the closing tag of its root, or
// that the root is empty.
func checkXMLEnd(body []byte, root string) string {
	body = bytes.TrimSpace(body)
	if bytes.HasSuffix(body, []byte("/>")) && bytes.LastIndexByte(body, '<') == bytes.Index(body, []byte("<"+root)) {
		return ""
	}
	i := bytes.LastIndex(body, []byte("</"))
	if i < 0 || !bytes.HasSuffix(body, []byte(">")) {
		return "answer is cut off"
	}
	name := string(bytes.TrimSpace(body[i+2 : len(body)-1]))
	if _, local, ok := strings.Cut(name, ":"); ok {
		name = local
	}
	if name != root {
		return "answer is cut off, or has something after its end"
	}
	return ""
}

// IsPage reports whether an answer declares itself as an HTML page. The stores
// send no pages.
func IsPage(h http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return mediaType == "text/html" || mediaType == "application/xhtml+xml"
}

// IsObject reports whether a store has sent an object with these headers: an
// entity tag, a header with one of the prefixes that only stores use, and a
// media type other than that of a page.
func IsObject(h http.Header, prefixes ...string) bool {
	return h.Get("Etag") != "" && !IsPage(h) && IsStore(h, prefixes...)
}

// IsStore reports whether a header has one of the prefixes that only stores
// use.
func IsStore(h http.Header, prefixes ...string) bool {
	for name := range h {
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return false
}

// RefuseBody returns the error for an answer whose body was not read, and
// closes the body.
func RefuseBody(resp *http.Response, wrong string) *AnswerError {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // for the error's text
	_ = resp.Body.Close()                                   // the error says what matters
	return NewAnswerError(resp, body, wrong)
}
