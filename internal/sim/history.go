package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/superfly/ltx"
)

// History is what the files of level 0 tell that ever came to a bucket: one state
// for each transaction. It is the measure of everything else in the bucket. A
// History is not safe for concurrent use.
type History struct {
	states []*pagesState // state i is that after transaction i+1

	// AnyStamp says that the times of transactions need not rise: Litestream takes
	// them from its clock as they are.
	AnyStamp bool
}

// pagesState is a database after a transaction.
type pagesState struct {
	pageSize uint32
	commit   uint32
	stamp    int64             // of the file
	pages    map[uint32][]byte // pages with numbers up to commit; never changed
	changed  map[uint32]bool   // pages that the transaction wrote
}

// ltxFile is a decoded LTX file.
type ltxFile struct {
	header ltx.Header
	pages  map[uint32][]byte
}

// decode reads an LTX file, and compares its checksum.
func decode(body []byte) (*ltxFile, error) {
	dec := ltx.NewDecoder(bytes.NewReader(body))
	if err := dec.DecodeHeader(); err != nil {
		return nil, err
	}
	f := &ltxFile{header: dec.Header(), pages: make(map[uint32][]byte)}
	for {
		var hdr ltx.PageHeader
		page := make([]byte, f.header.PageSize)
		if err := dec.DecodePage(&hdr, page); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		f.pages[hdr.Pgno] = page
	}
	return f, dec.Close()
}

// Newest returns the newest transaction, 0 if there is none.
func (h *History) Newest() ltx.TXID { return ltx.TXID(len(h.states)) }

// Image returns the database file after a transaction.
func (h *History) Image(txid ltx.TXID) []byte {
	s := h.states[txid-1]
	b := make([]byte, int(s.commit)*int(s.pageSize))
	for pgno, page := range s.pages {
		copy(b[int(pgno-1)*int(s.pageSize):], page)
	}
	return b
}

// Node returns the state that the database has after a transaction: writers put its
// number into the field user_version of the database header.
func (h *History) Node(txid ltx.TXID) Node {
	if txid == 0 {
		return 0
	}
	const userVersion = 60 // offset of the field
	return Node(binary.BigEndian.Uint32(h.states[txid-1].pages[1][userVersion:]))
}

// Put adds a file that came to the bucket. It returns a violation if the file does
// not belong to the history.
func (h *History) Put(level int, minTXID, maxTXID ltx.TXID, body []byte) *Violation {
	name := fmt.Sprintf("%d/%s", level, ltx.FormatFilename(minTXID, maxTXID))
	f, err := decode(body)
	if err != nil {
		return Violated(RuleMerged, "%s: %v", name, err)
	}
	if level == 0 && minTXID == maxTXID && maxTXID == h.Newest()+1 {
		h.states = append(h.states, h.next(f))
		if n := len(h.states); !h.AnyStamp && n > 1 && h.states[n-1].stamp <= h.states[n-2].stamp {
			return Violated(RuleStamps, "%s: it has time %d, after one of %d", name, h.states[n-1].stamp, h.states[n-2].stamp)
		}
		return nil
	}
	return h.check(name, f)
}

// next returns the state that the newest one becomes by a file.
func (h *History) next(f *ltxFile) *pagesState {
	s := &pagesState{pageSize: f.header.PageSize, commit: f.header.Commit, stamp: f.header.Timestamp, pages: make(map[uint32][]byte), changed: make(map[uint32]bool)}
	if n := len(h.states); n > 0 {
		maps.Copy(s.pages, h.states[n-1].pages)
	}
	maps.Copy(s.pages, f.pages)
	maps.DeleteFunc(s.pages, func(pgno uint32, _ []byte) bool { return pgno > s.commit })
	for pgno := range f.pages {
		s.changed[pgno] = true
	}
	return s
}

// check compares a file with the history.
func (h *History) check(name string, f *ltxFile) *Violation {
	minTXID, maxTXID := f.header.MinTXID, f.header.MaxTXID
	rule := RuleMerged
	if minTXID == maxTXID {
		rule = RuleOneFile
	}
	if minTXID < 1 || maxTXID > h.Newest() {
		return Violated(RuleOneFile, "%s: the newest transaction is %d", name, h.Newest())
	}
	s := h.states[maxTXID-1]
	if f.header.Commit != s.commit || f.header.PageSize != s.pageSize {
		return Violated(rule, "%s: it has %d pages of %d bytes, want %d of %d", name, f.header.Commit, f.header.PageSize, s.commit, s.pageSize)
	}
	for _, pgno := range slices.Sorted(maps.Keys(f.pages)) {
		if !bytes.Equal(f.pages[pgno], s.pages[pgno]) {
			return Violated(rule, "%s: page %d has another content than after transaction %d", name, pgno, maxTXID)
		}
	}
	for txid := minTXID; txid <= maxTXID; txid++ {
		for _, pgno := range slices.Sorted(maps.Keys(h.states[txid-1].changed)) {
			if _, ok := f.pages[pgno]; !ok && pgno <= s.commit {
				return Violated(rule, "%s: page %d, which transaction %d changed, is missing", name, pgno, txid)
			}
		}
	}
	return nil
}
