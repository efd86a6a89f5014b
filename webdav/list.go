package webdav

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// headers is the number of LTX headers that are read at the same time.
const headers = 16

// LTXFiles implements replica.Client. CreatedAt is the time of the upload. With
// useMetadata it is the timestamp of the LTX header, which takes a read of each file.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	objects, layout, err := c.list(ctx, level, seek, useMetadata)
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	return clientio.NewIterator(ctx, layout, seek, func(context.Context) ([]clientio.Object, bool, error) { return objects, false, nil }), nil
}

func (c *ReplicaClient) list(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) ([]clientio.Object, clientio.Layout, error) {
	err := clientio.CheckLevel(level)
	var s *session
	if err == nil {
		s, err = c.connect(ctx)
	}
	if err != nil {
		return nil, clientio.Layout{}, err
	}
	prefix := s.layout.Prefix(level)
	entries, err := s.folder(ctx, prefix)
	if errors.Is(err, errNoListing) {
		// A server may answer like that if a file is in the way.
		if _, perr := s.folder(ctx, s.place); errors.Is(perr, clientio.ErrAbsent) {
			err = clientio.ErrAbsent
		}
	}
	switch {
	case errors.Is(err, clientio.ErrAbsent):
		return nil, s.layout, nil
	case err != nil:
		return nil, s.layout, err
	}
	var objects []clientio.Object
	for _, e := range entries {
		minTXID, _, ok := clientio.ParseName(e.name)
		if !ok || e.dir || minTXID < seek {
			continue
		}
		if e.size < 0 {
			return nil, s.layout, fmt.Errorf("server does not tell the size of %s", e.name)
		}
		objects = append(objects, clientio.Object{Key: prefix + e.name, Size: e.size, CreatedAt: e.modified, Version: e.tag})
	}
	slices.SortFunc(objects, func(a, b clientio.Object) int { return cmp.Compare(a.Key, b.Key) })
	if useMetadata {
		objects, err = s.exactTimes(ctx, objects)
	}
	return objects, s.layout, err
}

// exactTimes reads the timestamps of the headers of files. Files that are gone
// meanwhile are left out.
func (s *session) exactTimes(ctx context.Context, objects []clientio.Object) ([]clientio.Object, error) {
	return clientio.Complete(ctx, objects, headers, func(ctx context.Context, o *clientio.Object) (exists bool, err error) {
		r, err := s.read(clientio.WithVersion(ctx, ""), o.Key, 0, ltx.HeaderSize)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return true, fmt.Errorf("%s: %w", o.Key, err)
		}
		hdr, _, err := ltx.PeekHeader(r)
		cerr := r.Close()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, ltx.ErrInvalidFile):
			return true, nil // one damaged file must not hide the others
		case err != nil || cerr != nil:
			return true, fmt.Errorf("%s: %w", o.Key, cmp.Or(err, cerr))
		}
		o.CreatedAt = time.UnixMilli(hdr.Timestamp).UTC()
		return true, nil
	})
}

// entry is a name in a folder.
type entry struct {
	name     string
	dir      bool
	size     int64 // -1: not known
	modified time.Time
	tag      string // entity tag; empty: none
}

// multistatus is the answer to PROPFIND.
type multistatus struct {
	Responses responses `xml:"DAV: response"`
}

// responses are the entries of an answer. Each element is added as it is decoded: an
// answer can have millions of empty ones, which as values would take many times the
// memory of its text.
type responses struct {
	self    string // path of the folder at the server
	found   bool   // the folder is among them
	entries []entry
	err     error // why one of them was refused
}

// UnmarshalXML implements xml.Unmarshaler. It is called for each response.
func (rs *responses) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	var one struct {
		Href  string     `xml:"DAV: href"`
		Entry properties `xml:"DAV: propstat"`
	}
	one.Entry.size = -1
	if err := d.DecodeElement(&one, &start); err != nil {
		return err
	}
	rs.err = rs.add(one.Href, entry(one.Entry))
	return rs.err
}

// add adds an entry with an address.
func (rs *responses) add(address string, e entry) error {
	href, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return fmt.Errorf("listing has %.80q, which is no url", address)
	}
	clean := path.Clean("/" + href.Path)
	e.name = path.Base(clean)
	switch {
	case clean == rs.self && !e.dir:
		return errFile
	case clean == rs.self:
		rs.found = true
	case path.Dir(clean) == rs.self:
		rs.entries = append(rs.entries, e)
	default:
		return fmt.Errorf("listing has %.80q, which was not asked for", address)
	}
	return nil
}

// properties is an entry without its name.
type properties entry

// UnmarshalXML implements xml.Unmarshaler. It is called for each propstat of a response.
func (p *properties) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	var ps struct {
		Status string `xml:"DAV: status"`
		Prop   struct {
			Length   string `xml:"DAV: getcontentlength"`
			Modified string `xml:"DAV: getlastmodified"`
			ETag     string `xml:"DAV: getetag"`
			Type     struct {
				Collection *struct{} `xml:"DAV: collection"`
			} `xml:"DAV: resourcetype"`
		} `xml:"DAV: prop"`
	}
	if err := d.DecodeElement(&ps, &start); err != nil {
		return err
	}
	if !strings.Contains(ps.Status, " 200") && ps.Status != "" {
		return nil
	}
	p.dir = p.dir || ps.Prop.Type.Collection != nil
	if n, err := strconv.ParseInt(ps.Prop.Length, 10, 64); err == nil && n >= 0 {
		p.size = n
	}
	if t, err := http.ParseTime(ps.Prop.Modified); err == nil {
		p.modified = t.UTC()
	}
	p.tag = cmp.Or(p.tag, versionOf(ps.Prop.ETag))
	return nil
}

// wanted is the body of the requests for listings.
const wanted = `<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>` +
	`<D:getcontentlength/><D:getlastmodified/><D:getetag/><D:resourcetype/></D:prop></D:propfind>`

// errNoListing is the error of a server that lists nothing.
var errNoListing = errors.New("there is no WebDAV server at this address")

// folder lists a folder at the server. If there is none, or a file of that name, the
// error is clientio.ErrAbsent.
func (s *session) folder(ctx context.Context, name string) ([]entry, error) {
	header := http.Header{"Depth": {"1"}, "Content-Type": {"application/xml; charset=utf-8"}}
	resp, err := s.send(ctx, "PROPFIND", name, header, text(wanted))
	switch {
	case err != nil:
		return nil, fmt.Errorf("PROPFIND: %w", err)
	case resp.StatusCode != http.StatusMultiStatus && resp.StatusCode/100 == 2:
		return nil, clientio.RefuseBody(resp, "answer is no listing of a WebDAV server")
	case resp.StatusCode == http.StatusBadRequest:
		err := fmt.Errorf("PROPFIND: %w: %w", s.refusal(resp), errBadRequest)
		if strings.HasSuffix(name, "/") && name != "/" && s.isFile(ctx, path.Clean(name)) {
			return nil, clientio.ErrAbsent
		}
		return nil, err
	case resp.StatusCode == http.StatusMethodNotAllowed, resp.StatusCode == http.StatusNotImplemented:
		_ = resp.Body.Close() // the status says what matters
		return nil, clientio.Permanent(fmt.Errorf("PROPFIND: http status %d: %w", resp.StatusCode, errNoListing))
	case resp.StatusCode != http.StatusMultiStatus:
		return nil, fmt.Errorf("PROPFIND: %w", s.refusal(resp))
	}
	content, err := clientio.ReadListing(ctx, resp)
	if err != nil {
		return nil, fmt.Errorf("PROPFIND: %w", err)
	}
	if wrong := clientio.CheckXML(content, "multistatus"); wrong != "" {
		return nil, clientio.NewAnswerError(resp, content, wrong)
	}
	return parseEntries(path.Clean(s.server.Path+name), content)
}

// errBadRequest is the error of an answer with status 400.
var errBadRequest = errors.New("something in front of the server may have refused the request, or the server wants https, for which urls begin with webdavs://")

// errFile is the error of a request for a folder whose name is that of a file.
var errFile = fmt.Errorf("a file has the name: folder %w", clientio.ErrAbsent)

// isFile reports whether a name, or one that it is below, is that of a file. Then Apache
// answers with status 400 to a request for a folder. Others give that answer to any
// request that they do not like, so only a listing of the file itself is believed.
func (s *session) isFile(ctx context.Context, name string) bool {
	for ; ; name = path.Dir(name) {
		_, err := s.folder(ctx, name)
		switch {
		case errors.Is(err, errFile):
			return true
		case name == "/", !errors.Is(err, errBadRequest) && !errors.Is(err, clientio.ErrAbsent):
			return false
		}
	}
}

// parseEntries returns the names in a folder from the answer to PROPFIND. self is the
// path of the folder at the server.
func parseEntries(self string, content []byte) ([]entry, error) {
	answer := multistatus{responses{self: self}}
	err := xml.Unmarshal(content, &answer)
	all := &answer.Responses
	switch {
	case all.err != nil:
		return nil, all.err
	case err != nil:
		return nil, fmt.Errorf("PROPFIND: %w", err)
	case !all.found && len(all.entries) == 0:
		return nil, errors.New("listing is not that of the folder that was asked for")
	}
	return all.entries, nil
}

// versionOf returns the version that an entity tag stands for. Some servers call the
// tag of a file weak as long as the file is new.
func versionOf(tag string) string { return strings.TrimPrefix(strings.TrimSpace(tag), "W/") }
