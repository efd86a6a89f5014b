package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Limits of a request.
const (
	maxBody   = 4 << 20 // in bytes
	maxName   = 1024    // in bytes, for a file or an object
	maxChunks = 10_000  // per file
)

// handler answers HTTP requests.
type handler struct {
	store *store
	log   *slog.Logger
}

func newHandler(s *store, log *slog.Logger) http.Handler {
	h := &handler{s, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /files/{name}", h.getFile)
	mux.HandleFunc("PUT /files/{name}", h.putFile)
	mux.HandleFunc("GET /healthz", h.getHealth)
	return mux
}

func (h *handler) getFile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := checkName(name); err != nil {
		h.fail(w, r, err)
		return
	}
	f, err := h.store.get(r.Context(), name)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, r, http.StatusOK, f)
}

func (h *handler) putFile(w http.ResponseWriter, r *http.Request) {
	f := fileInfo{Name: r.PathValue("name")}
	err := checkName(f.Name)
	if err == nil {
		f.Chunks, err = readChunks(http.MaxBytesReader(w, r.Body, maxBody))
	}
	if err == nil {
		f.Size, err = checkChunks(f.Chunks)
	}
	if err == nil {
		err = h.store.put(r.Context(), f)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *handler) getHealth(w http.ResponseWriter, r *http.Request) {
	status, err := h.store.health(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	code := http.StatusOK
	if !status.Writable { // another process has written to the replica
		code = http.StatusServiceUnavailable
	}
	h.write(w, r, code, status)
}

func (h *handler) write(w http.ResponseWriter, r *http.Request, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		h.log.DebugContext(r.Context(), "answer not sent", "path", r.URL.Path, "error", err)
	}
}

// errInvalid means that a request is invalid.
var errInvalid = errors.New("invalid request")

// fail answers with an error. Errors that the client did not cause are only
// logged.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var tooLarge *http.MaxBytesError
	code, text := http.StatusInternalServerError, "internal error"
	switch {
	case errors.As(err, &tooLarge):
		code, text = http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit)
	case errors.Is(err, errInvalid):
		code, text = http.StatusBadRequest, err.Error()
	case errors.Is(err, errNoFile):
		code, text = http.StatusNotFound, err.Error()
	case r.Context().Err() != nil:
		return // the client has gone
	case isRefused(err):
		// The write buffer is full, or another process writes to the replica.
		code, text = http.StatusServiceUnavailable, "the database cannot be written to now"
	}
	if code >= http.StatusInternalServerError {
		h.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	http.Error(w, text, code)
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%w: a name has 1 to %d bytes of UTF-8, none of them zero", errInvalid, maxName)
	}
	return nil
}

// readChunks reads a list of chunks. It returns an error if other data follows.
func readChunks(body io.Reader) (chunks []chunk, err error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&chunks); err != nil {
		return nil, fmt.Errorf("%w: parse body: %w", errInvalid, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.Join(fmt.Errorf("%w: the body goes on after the list", errInvalid), err)
	}
	if chunks == nil {
		return nil, fmt.Errorf("%w: the body is no list of chunks", errInvalid)
	}
	return chunks, nil
}

// checkChunks returns the size of a file that consists of the given chunks.
func checkChunks(chunks []chunk) (size int64, err error) {
	if len(chunks) > maxChunks {
		return 0, fmt.Errorf("%w: %d chunks, at most %d can be", errInvalid, len(chunks), maxChunks)
	}
	for i, c := range chunks {
		if err := checkName(c.Object); err != nil {
			return 0, fmt.Errorf("object of chunk %d: %w", i, err)
		}
		if c.Offset < 0 || c.Length <= 0 || c.Offset > math.MaxInt64-c.Length || size > math.MaxInt64-c.Length {
			return 0, fmt.Errorf("%w: chunk %d: offset %d, length %d", errInvalid, i, c.Offset, c.Length)
		}
		size += c.Length
	}
	return size, nil
}
