package ltxtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc64"
	"maps"
	"slices"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"
)

// EncodeLTX returns an LTX file with the given header and pages. It sets the
// version in the header, and the flag that no database checksums are tracked,
// as Litestream does. It keeps the other fields.
//
// If frameFormat is true, pages are encoded as LZ4 frames without a size field,
// as Litestream wrote them before v0.5.16. Otherwise they are encoded as sized
// LZ4 blocks.
//
// EncodeLTX panics if the format does not allow the header or the pages: a page
// of the wrong size, the lock page, a page beyond hdr.Commit, or a snapshot
// (MinTXID 1) that does not contain every page.
func EncodeLTX(hdr ltx.Header, pages map[uint32][]byte, frameFormat bool) []byte {
	hdr.Version = ltx.Version
	hdr.Flags |= ltx.HeaderFlagNoChecksum

	pgnos := slices.Sorted(maps.Keys(pages))
	if err := checkPages(&hdr, pgnos, pages); err != nil {
		panic(fmt.Errorf("encode ltx file: %w", err))
	}

	encode := encodeBlocks
	if frameFormat {
		encode = encodeFrames
	}
	b, err := encode(hdr, pgnos, pages)
	if err != nil {
		panic(fmt.Errorf("encode ltx file: %w", err))
	}
	return b
}

// checkPages returns an error if an LTX file with this header must not contain
// exactly these pages. pgnos must be in ascending order.
func checkPages(hdr *ltx.Header, pgnos []uint32, pages map[uint32][]byte) error {
	if err := hdr.Validate(); err != nil {
		return err
	}
	if hdr.Commit == 0 {
		return fmt.Errorf("commit required")
	}
	lockPgno := hdr.LockPgno()
	for _, pgno := range pgnos {
		switch {
		case pgno == 0 || pgno > hdr.Commit:
			return fmt.Errorf("page %d out of range, commit is %d", pgno, hdr.Commit)
		case pgno == lockPgno:
			return fmt.Errorf("page %d is the lock page", pgno)
		case len(pages[pgno]) != int(hdr.PageSize):
			return fmt.Errorf("page %d has %d bytes, page size is %d", pgno, len(pages[pgno]), hdr.PageSize)
		}
	}
	if hdr.IsSnapshot() {
		want := int(hdr.Commit)
		if hdr.Commit >= lockPgno {
			want--
		}
		if len(pgnos) != want {
			return fmt.Errorf("snapshot has %d pages, want %d", len(pgnos), want)
		}
	}
	return nil
}

func encodeBlocks(hdr ltx.Header, pgnos []uint32, pages map[uint32][]byte) ([]byte, error) {
	buf := bytes.NewBuffer(make([]byte, 0, (len(pgnos)+1)*(int(hdr.PageSize)+64))) // pages need not become smaller
	enc, err := ltx.NewEncoder(buf)
	if err != nil {
		return nil, err
	}
	if err := enc.EncodeHeader(hdr); err != nil {
		return nil, err
	}
	for _, pgno := range pgnos {
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, pages[pgno]); err != nil {
			return nil, err
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// encodeFrames encodes the older format, which ltx.Encoder cannot write any
// more.
func encodeFrames(hdr ltx.Header, pgnos []uint32, pages map[uint32][]byte) ([]byte, error) {
	zw := lz4.NewWriter(nil)
	// These are the options of the old encoder. They determine the bytes of a
	// frame: one LZ4 block for every page size, and a content checksum.
	if err := zw.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.CompressionLevelOption(lz4.Fast)); err != nil {
		return nil, err
	}

	w := &hashWriter{hash: crc64.New(crc64.MakeTable(crc64.ISO))}
	header, err := hdr.MarshalBinary()
	if err != nil {
		return nil, err
	}
	w.write(header)

	var index []byte
	for _, pgno := range pgnos {
		offset := w.buf.Len()
		w.write(pageHeader(pgno))

		// The file contains the compressed page, but the checksum covers the
		// plain page.
		zw.Reset(&w.buf)
		if _, err := zw.Write(pages[pgno]); err != nil {
			return nil, err
		}
		if err := zw.Close(); err != nil {
			return nil, err
		}
		w.hash.Write(pages[pgno])

		index = binary.AppendUvarint(index, uint64(pgno))
		index = binary.AppendUvarint(index, uint64(offset))
		index = binary.AppendUvarint(index, uint64(w.buf.Len()-offset))
	}
	w.write(pageHeader(0)) // end of the pages

	index = binary.AppendUvarint(index, 0) // end of the index
	w.write(index)
	w.write(binary.BigEndian.AppendUint64(nil, uint64(len(index))))

	w.write(make([]byte, ltx.TrailerChecksumOffset)) // no post-apply checksum
	sum := uint64(ltx.ChecksumFlag) | w.hash.Sum64()
	return binary.BigEndian.AppendUint64(w.buf.Bytes(), sum), nil
}

// pageHeader returns the page header of a frame without a size field.
func pageHeader(pgno uint32) []byte {
	b := make([]byte, ltx.PageHeaderSize)
	binary.BigEndian.PutUint32(b, pgno)
	return b
}

// hashWriter collects a file and the checksum of its content.
type hashWriter struct {
	buf  bytes.Buffer
	hash hash.Hash64
}

func (w *hashWriter) write(b []byte) {
	w.buf.Write(b)
	w.hash.Write(b)
}
