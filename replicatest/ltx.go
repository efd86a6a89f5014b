package replicatest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"time"

	"github.com/superfly/ltx"
)

const (
	defaultPageSize = 512
	defaultPages    = 1
)

// FileSpec describes an LTX file to make. Only the TXIDs are required.
type FileSpec struct {
	// MinTXID and MaxTXID are the range of transactions. A file with a MinTXID
	// of 1 is a snapshot.
	MinTXID, MaxTXID ltx.TXID

	// Timestamp is the timestamp in the header, in milliseconds. Zero: the Unix
	// epoch.
	Timestamp time.Time

	// PageSize is the page size in bytes, a power of two from 512 to 65536.
	// Zero: 512.
	PageSize int

	// Pages is the number of pages, and also the size of the database. The
	// pages are 1 to Pages. Zero: 1.
	Pages int

	// Seed determines the content of the pages, which is random and hardly
	// compressible.
	Seed uint64
}

// Encode returns the bytes of the LTX file, which are the same for the same
// FileSpec. It fails if an LTX file cannot have the TXIDs, the page size or the
// number of pages.
func (s FileSpec) Encode() ([]byte, error) {
	if s.PageSize == 0 {
		s.PageSize = defaultPageSize
	}
	if s.Pages == 0 {
		s.Pages = defaultPages
	}
	if s.Pages < 0 || int64(s.Pages) > math.MaxUint32 {
		return nil, fmt.Errorf("%d pages: %w", s.Pages, fs.ErrInvalid)
	}
	var timestamp int64
	if !s.Timestamp.IsZero() {
		timestamp = s.Timestamp.UnixMilli()
	}

	var buf bytes.Buffer
	enc, err := ltx.NewEncoder(&buf)
	if err != nil {
		return nil, fmt.Errorf("create ltx encoder: %w", err)
	}
	if err := enc.EncodeHeader(ltx.Header{
		Version:   ltx.Version,
		Flags:     ltx.HeaderFlagNoChecksum,
		PageSize:  uint32(s.PageSize),
		Commit:    uint32(s.Pages),
		MinTXID:   s.MinTXID,
		MaxTXID:   s.MaxTXID,
		Timestamp: timestamp,
	}); err != nil {
		return nil, fmt.Errorf("encode ltx header: %w", err)
	}
	if err := s.encodePages(enc); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("close ltx encoder: %w", err)
	}
	return buf.Bytes(), nil
}

func (s FileSpec) encodePages(enc *ltx.Encoder) error {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[0:], s.Seed)
	binary.BigEndian.PutUint64(seed[8:], uint64(s.MinTXID))
	binary.BigEndian.PutUint64(seed[16:], uint64(s.MaxTXID))
	content := rand.NewChaCha8(seed)

	page := make([]byte, s.PageSize)
	lockPgno := ltx.LockPgno(uint32(s.PageSize))
	for pgno := uint32(1); pgno <= uint32(s.Pages); pgno++ {
		if pgno == lockPgno {
			continue
		}
		_, _ = content.Read(page) // never fails
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page); err != nil {
			return fmt.Errorf("encode page %d: %w", pgno, err)
		}
	}
	return nil
}
