package litestream_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/internal/webindex"
)

// badWeb is a web server without a network. It answers with files by their paths.
type badWeb map[string][]byte

// RoundTrip implements http.RoundTripper.
func (s badWeb) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	if body, ok := s[req.URL.Path]; ok {
		rec.Header().Set("Etag", fmt.Sprintf(`"%d"`, len(body)))
		http.ServeContent(rec, req, "file", time.Time{}, bytes.NewReader(body))
	} else {
		http.NotFound(rec, req)
	}
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

// web reads a replica behind a web server, whose index may be damaged.
func (w *badWorld) web() {
	files := badWeb{}
	var index webindex.Index
	for _, key := range w.damaged.Keys() {
		name := fmt.Sprintf("ltx/%d/%s", key.Level, ltx.FormatFilename(key.MinTXID, key.MaxTXID))
		files["/app/"+name] = w.damaged[key]
		index.Files = append(index.Files, webindex.File{Name: name, Size: int64(len(w.damaged[key]))})
	}
	index.Version, index.Published = webindex.Version, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	note := w.damageIndex(&index)
	b, err := webindex.Encode(index)
	if err != nil {
		w.note(err)
		return
	}
	if note == "" {
		at := w.rng.IntN(len(b))
		switch w.rng.IntN(3) {
		case 0:
			b = b[:at]
		case 1:
			b[at] ^= 1 << w.rng.UintN(8)
		}
		note = fmt.Sprintf("from byte %d on", at)
	}
	w.result.damage.Notes = append(w.result.damage.Notes, "index.json: "+note)
	files["/app/index.json"] = b
	client := https.NewReplicaClient()
	client.URL, client.Transport = "https://example.com/app", files
	defer client.Close()
	opts := w.options()
	opts.HydrationEnabled = w.rng.IntN(2) == 0
	d := w.open(0, client, opts)
	if d == nil {
		return
	}
	defer d.close()
	d.check()
	if opts.HydrationEnabled {
		d.hydrated()
	}
	d.check()
}

// damageIndex makes an index lie, with the right checksum, and says how.
func (w *badWorld) damageIndex(index *webindex.Index) string {
	if len(index.Files) == 0 || w.rng.IntN(2) == 0 {
		return ""
	}
	f := &index.Files[w.rng.IntN(len(index.Files))]
	switch w.rng.IntN(5) {
	case 0:
		f.Size = []int64{0, -1, f.Size + 1, f.Size - 1, 4 << 30, 1 << 62}[w.rng.IntN(6)]
		return fmt.Sprintf("size of %s is %d", f.Name, f.Size)
	case 1:
		f.Name = []string{"", "../" + f.Name, "/etc/passwd", "ltx/9/x.ltx", strings.ToUpper(f.Name), "ltx/77/" + f.Name}[w.rng.IntN(6)]
		return fmt.Sprintf("a file is called %q", f.Name)
	case 2:
		index.Files = append(index.Files, *f)
		return f.Name + " is there twice"
	case 3:
		index.Version = w.rng.IntN(4) - 1
		return fmt.Sprintf("version %d", index.Version)
	}
	f.Time = time.Date(w.rng.IntN(9999), 1, 1, 0, 0, 0, 0, time.UTC)
	return fmt.Sprintf("time of %s is %s", f.Name, f.Time)
}
