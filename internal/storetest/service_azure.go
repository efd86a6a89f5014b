package storetest

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
)

// NewAzure returns a service that speaks Azure Blob Storage, with the account
// in the path.
func NewAzure() Service { return &azureService{} }

type azureService struct{ objects }

func (s *azureService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Ms-Request-Id", "request")
	w.Header().Set("X-Ms-Version", "2024-11-04")
	query := r.URL.Query()
	key := ""
	if _, after, ok := strings.Cut(r.URL.Path, "/"+Bucket+"/"); ok {
		key = after
	}
	comp := query.Get("comp")
	switch {
	case comp == "list":
		s.list(w, query.Get("prefix"))
	case comp == "batch":
		s.batch(w, r)
	case r.Method == http.MethodGet:
		found, ok := s.find(key)
		if !ok {
			azureError(w, http.StatusNotFound, "BlobNotFound")
			return
		}
		w.Header().Set("X-Ms-Blob-Type", "BlockBlob")
		header := "X-Ms-Range"
		if r.Header.Get(header) == "" {
			header = "Range"
		}
		serveBody(w, r, header, found.body)
	case comp == "block":
		body := readBody(r)
		s.part(key+" "+query.Get("blockid"), 1, body)
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		body := readBody(r)
		if comp == "blocklist" {
			var list struct{ Latest []string }
			_ = xml.Unmarshal(body, &list)
			body = nil
			for _, id := range list.Latest {
				body = append(body, s.whole(key+" "+id)...)
			}
		}
		if !s.put(key, body, r.Header.Get("X-Ms-Meta-Litestreamtimestamp"), r.Header.Get("If-None-Match") == "*") {
			azureError(w, http.StatusConflict, "BlobAlreadyExists")
			return
		}
		w.Header().Set("Etag", etag(body))
		w.Header().Set("Last-Modified", stored.Format(http.TimeFormat))
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodDelete:
		if _, ok := s.find(key); !ok {
			azureError(w, http.StatusNotFound, "BlobNotFound")
			return
		}
		s.delete(key)
		w.WriteHeader(http.StatusAccepted)
	}
}

func azureError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code></Error>", code)
}

func (s *azureService) list(w http.ResponseWriter, prefix string) {
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"http://azure/\" ContainerName=\"%s\"><Prefix>%s</Prefix><Blobs>", Bucket, escaped(prefix))
	for _, key := range s.keys(prefix) {
		found, _ := s.find(key)
		fmt.Fprintf(w, "<Blob><Name>%s</Name><Properties><Last-Modified>%s</Last-Modified><Content-Length>%d</Content-Length></Properties><Metadata><litestreamtimestamp>%s</litestreamtimestamp></Metadata></Blob>",
			escaped(key), stored.Format(http.TimeFormat), len(found.body), found.timestamp)
	}
	fmt.Fprint(w, "</Blobs><NextMarker /></EnumerationResults>")
}

// batch deletes the blobs of a batch.
func (s *azureService) batch(w http.ResponseWriter, r *http.Request) {
	_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	reader := multipart.NewReader(bytes.NewReader(readBody(r)), params["boundary"])
	var out bytes.Buffer
	answer := multipart.NewWriter(&out)
	for {
		part, err := reader.NextPart()
		if err != nil {
			break
		}
		content, _ := io.ReadAll(part)
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(content)))
		if err != nil {
			continue
		}
		_, key, _ := strings.Cut(request.URL.Path, "/"+Bucket+"/")
		s.delete(key)
		reply, _ := answer.CreatePart(map[string][]string{
			"Content-Type": {"application/http"}, "Content-Id": slices.Clone(part.Header["Content-Id"]),
		})
		fmt.Fprint(reply, "HTTP/1.1 202 Accepted\r\nx-ms-request-id: request\r\nx-ms-version: 2024-11-04\r\n\r\n")
	}
	_ = answer.Close()
	w.Header().Set("Content-Type", "multipart/mixed; boundary="+answer.Boundary())
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(out.Bytes())
}
