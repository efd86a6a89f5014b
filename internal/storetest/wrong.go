package storetest

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"net/http"
	"strings"
)

// WrongAnswer is an answer with a status of success that does not come from the
// store, or belongs to another request.
type WrongAnswer struct {
	Name   string
	Header map[string]string
	Body   string
}

const portal = `<!DOCTYPE html><html><head><title>Guest WiFi</title></head><body><p>Please sign in.</p></body></html>`

// These are headers of all answers of a store, and of pages.
var (
	ofStore = map[string]string{"X-Amz-Request-Id": "r", "X-Ms-Request-Id": "r", "X-Ms-Version": "2024-11-04", "X-Guploader-Uploadid": "r", "X-Oss-Request-Id": "r"}
	page    = map[string]string{"Content-Type": "text/html; charset=utf-8"}
	text    = map[string]string{"Content-Type": "text/plain"}
	asXML   = map[string]string{"Content-Type": "application/xml"}
	asJSON  = map[string]string{"Content-Type": "application/json"}
)

// with returns the union of headers.
func with(headers ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, h := range headers {
		for name, value := range h {
			all[name] = value
		}
	}
	return all
}

// WrongAnswers returns wrong answers for the clients of all stores.
func WrongAnswers() []WrongAnswer {
	static := map[string]string{"Etag": `"5f3b"`, "Last-Modified": "Fri, 02 Jan 2026 00:00:00 GMT", "Accept-Ranges": "bytes"}
	const lists3 = `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`
	const otherKey = "other/0000/0000000000000001-0000000000000001.ltx"
	return []WrongAnswer{
		{"nothing", nil, ""},
		{"nothing, of an s3 server", map[string]string{"X-Amz-Request-Id": "r"}, ""},
		{"white space", text, " \r\n\t \n"},
		{"OK", text, "OK"},
		{"true", asJSON, "true"},
		{"captive portal", page, portal},
		{"captive portal without a type", nil, portal},
		{"web server", with(page, static), portal},
		{"web server, plain text", with(text, static), "It works!"},
		{"web server, bytes", with(static, map[string]string{"Content-Type": "application/octet-stream"}), strings.Repeat("x", 200)},
		{"xhtml", map[string]string{"Content-Type": "application/xhtml+xml"}, `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body/></html>`},
		{"page in utf-16", page, "\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00"},
		{"page that goes elsewhere", page, `<meta http-equiv="refresh" content="0;url=https://login.example.com/?next=x">`},
		{"json error", asJSON, `{"error":"service unavailable"}`},
		{"google's error", asJSON, `{"error":{"code":503,"message":"try again"}}`},
		{"json object", asJSON, "{}"},
		{"json object, of a store", with(asJSON, ofStore), "{}"},
		{"json array", asJSON, "[]"},
		{"json null", asJSON, "null"},
		{"json string", asJSON, `"ok"`},
		{"json listing, cut off", asJSON, `{"kind":"storage#objects","items":[{"name":"db/ltx`},
		{"json listing with something behind", asJSON, `{"kind":"storage#objects"}{"error":"x"}`},
		{"json listing of something else", with(asJSON, ofStore), `{"kind":"storage#buckets","items":[]}`},
		{"json listing of another bucket", with(asJSON, ofStore), `{"kind":"storage#objects","items":[{"kind":"storage#object","bucket":"other","name":"db/ltx/0/0000000000000001-0000000000000001.ltx","size":"5"}]}`},
		{"json listing of another path", with(asJSON, ofStore), `{"kind":"storage#objects","items":[{"kind":"storage#object","bucket":"bucket","name":"` + otherKey + `","size":"5"}]}`},
		{"json object of another name", with(asJSON, ofStore), `{"kind":"storage#object","bucket":"bucket","name":"` + otherKey + `","size":"5"}`},
		{"json object of another size", with(asJSON, ofStore), `{"kind":"storage#object","bucket":"bucket","name":"db/ltx/0/0000000000000003-0000000000000003.ltx","size":"5"}`},
		{"s3's error", asXML, `<?xml version="1.0"?><Error><Code>InternalError</Code><Message>m</Message></Error>`},
		{"s3's error, of a store", with(asXML, ofStore), `<?xml version="1.0"?><Error><Code>InternalError</Code><Message>m</Message></Error>`},
		{"soap", asXML, `<soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><soap:Body/></soap:Envelope>`},
		{"s3 listing, empty root", with(asXML, ofStore), "<ListBucketResult/>"},
		{"s3 listing, cut off", with(asXML, ofStore), lists3 + "<Name>bucket</Name><Prefix>"},
		{"s3 listing, cut off behind a file", with(asXML, ofStore), lists3 + "<IsTruncated>false</IsTruncated><Contents></Contents>"},
		{"s3 listing of another bucket", with(asXML, ofStore), lists3 + "<Name>other</Name><IsTruncated>false</IsTruncated></ListBucketResult>"},
		{"s3 listing of another path", with(asXML, ofStore), lists3 + "<Name>bucket</Name><Prefix>other/</Prefix><IsTruncated>false</IsTruncated></ListBucketResult>"},
		{"s3 listing of names of another path", with(asXML, ofStore), lists3 + "<IsTruncated>false</IsTruncated><Contents><Key>" + otherKey + "</Key><Size>5</Size></Contents></ListBucketResult>"},
		{"s3 listing that does not go on", with(asXML, ofStore), lists3 + "<IsTruncated>true</IsTruncated></ListBucketResult>"},
		{"s3 listing without names that it counts", with(asXML, ofStore), lists3 + "<KeyCount>3</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"},
		{"s3 listing with a page behind", with(asXML, ofStore), lists3 + "<IsTruncated>false</IsTruncated></ListBucketResult>" + portal},
		{"s3 buckets", with(asXML, ofStore), "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"},
		{"azure listing, empty root", with(asXML, ofStore), "<EnumerationResults></EnumerationResults>"},
		{"azure listing without an end", with(asXML, ofStore), "<EnumerationResults><Blobs></Blobs></EnumerationResults>"},
		{"azure listing, cut off", with(asXML, ofStore), "<EnumerationResults><Blobs><Blob><Name>"},
		{"azure listing of another container", with(asXML, ofStore), `<EnumerationResults ContainerName="other"><Blobs/><NextMarker/></EnumerationResults>`},
		{"azure listing of another path", with(asXML, ofStore), `<EnumerationResults ContainerName="bucket"><Prefix>other/</Prefix><Blobs/><NextMarker/></EnumerationResults>`},
		{"azure listing of names of another path", with(asXML, ofStore), `<EnumerationResults><Blobs><Blob><Name>` + otherKey + `</Name><Properties><Content-Length>5</Content-Length></Properties></Blob></Blobs><NextMarker/></EnumerationResults>`},
		{"azure listing from elsewhere", asXML, `<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>`},
		{"range of something else", with(page, map[string]string{"Content-Range": "bytes 1-4/9"}), "1234"},
		{"range of another length", map[string]string{"Content-Range": "bytes 0-99/100"}, "0123"},
		{"gzip", with(asXML, map[string]string{"Content-Encoding": "gzip"}), zipped(lists3 + "<IsTruncated>false</IsTruncated></ListBucketResult>")},
		{"noise", nil, noise(1000)},
		{"server-sent events", map[string]string{"Content-Type": "text/event-stream"}, "event: ping\ndata: {}\n\n"},
		{"form", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "status=ok&code=200"},
		{"login session", with(page, map[string]string{"Set-Cookie": "sid=1; Path=/"}), portal},
		{"upload session elsewhere", map[string]string{"Location": "http://127.0.0.1:1/upload?upload_id=x"}, ""},
	}
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

func noise(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// send sends the wrong answer.
func (a WrongAnswer) send(w http.ResponseWriter, status int) {
	for name := range w.Header() {
		w.Header().Del(name)
	}
	w.Header()["Content-Type"] = nil // keeps net/http from guessing one
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(a.Body))
}
