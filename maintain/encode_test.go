package maintain_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
)

// source is a database whose pages a function makes.
type source struct {
	pageSize, pages uint32
	fill            func(pgno uint32, page []byte) error
}

func (s source) PageSize() uint32 { return s.pageSize }
func (s source) Pages() uint32    { return s.pages }

func (s source) ReadPage(_ context.Context, pgno uint32, page []byte) error {
	if pgno == 1 {
		clear(page)
		copy(page, "SQLite format 3\x00")
		binary.BigEndian.PutUint16(page[16:], uint16(s.pageSize%65535))
		copy(page[18:], []byte{1, 1, 0, 64, 32, 32})
		binary.BigEndian.PutUint32(page[28:], s.pages)
		return nil
	}
	return s.fill(pgno, page)
}

// The file is the one that the encoder of the format's library writes, page by page.
func TestImport_Bytes(t *testing.T) {
	noise := ltxtest.Noise(1 << 20)
	for _, tt := range []struct{ pageSize, pages uint32 }{
		{512, 1}, {512, 5000}, {4096, 64}, {4096, 65}, {32768, 100}, {65536, 1}, {65536, 9}, {65536, 0x40000000/65536 + 3}, {65536, 0x40000000/65536 + 1},
	} {
		t.Run(fmt.Sprintf("%d pages of %d", tt.pages, tt.pageSize), func(t *testing.T) {
			if tt.pages > 10_000 {
				testscale.NeedsNoRace(t, "other cases have as many goroutines")
			}
			t.Parallel()
			src := source{tt.pageSize, tt.pages, func(pgno uint32, page []byte) error {
				clear(page)
				if tt.pages < 10_000 {
					copy(page, noise[pgno*7919%(1<<19):][:pgno*31%tt.pageSize])
				}
				return nil
			}}
			at := time.UnixMilli(1_700_000_000_000)
			client := memory.NewReplicaClient()
			result, err := maintain.Import(t.Context(), client, src, maintain.ImportOptions{Time: at})
			if err != nil {
				t.Fatal(err)
			}
			body, err := client.OpenLTXFile(t.Context(), 9, 1, 1, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			got, want := fnv.New128a(), fnv.New128a()
			n, err := io.Copy(got, body)
			if err != nil || n != result.Stored {
				t.Errorf("read %d bytes of %d, %v", n, result.Stored, err)
			}
			encodeAll(t, want, src, at)
			if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
				t.Error("the file differs")
			}
		})
	}
}

// encodeAll writes a snapshot with the encoder of the format's library.
func encodeAll(t *testing.T, w io.Writer, src source, at time.Time) {
	t.Helper()
	enc, err := ltx.NewEncoder(w)
	if err == nil {
		err = enc.EncodeHeader(ltx.Header{
			Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: src.pageSize, Commit: src.pages, MinTXID: 1, MaxTXID: 1, Timestamp: at.UnixMilli(),
		})
	}
	page := make([]byte, src.pageSize)
	for pgno := uint32(1); pgno <= src.pages && err == nil; pgno++ {
		if pgno == ltx.LockPgno(src.pageSize) {
			continue
		}
		if err = src.ReadPage(t.Context(), pgno, page); err == nil {
			err = enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page)
		}
	}
	if err == nil {
		err = enc.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A source that fails or panics, and a call that is cancelled, leave no file and no
// goroutine.
func TestImport_SourceFails(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	for name, tt := range map[string]struct {
		ctx  context.Context
		fail func() error
		want string
	}{
		"fails":     {t.Context(), func() error { return broken }, "read page 2500: broken"},
		"panics":    {t.Context(), func() error { panic("broken") }, "broken"},
		"cancelled": {ctx, func() error { cancel(); return nil }, context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			client := memory.NewReplicaClient()
			src := source{4096, 5000, func(pgno uint32, _ []byte) error {
				if pgno == 2500 {
					return tt.fail()
				}
				return nil
			}}
			_, err := maintain.Import(tt.ctx, client, src, maintain.ImportOptions{})
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if body, err := client.OpenLTXFile(t.Context(), 9, 1, 1, 0, 0); err == nil {
				body.Close()
				t.Error("there is a file")
			}
		})
	}
}

// What is no database is not imported.
func TestImport_NoDatabase(t *testing.T) {
	b := bucket{}
	src := zeros{source{4096, 3, func(uint32, []byte) error { return nil }}}
	if _, err := maintain.Import(t.Context(), writable{b}, src, maintain.ImportOptions{}); !errors.Is(err, errs.ErrCorrupt) || len(b) > 0 {
		t.Errorf("error %v, and there are %d files", err, len(b))
	}
}

// zeros is a source without the header of a database.
type zeros struct{ source }

func (zeros) ReadPage(_ context.Context, _ uint32, page []byte) error { clear(page); return nil }

// A call that is cancelled while pages are read leaves no file, also in a store that does
// not look at the context: the pages after that were not read.
func TestImport_CancelledAtEnd(t *testing.T) {
	for _, tt := range []struct {
		name      string
		pages, at uint32
	}{{"within the last pages", 3, 2}, {"after the first 256 KiB", 100, 64}} {
		for range 20 { // a call may go on after that by chance
			ctx, cancel := context.WithCancel(t.Context())
			src := source{4096, tt.pages, func(pgno uint32, _ []byte) error {
				if pgno == tt.at {
					cancel()
				}
				return nil
			}}
			b := bucket{}
			if _, err := maintain.Import(ctx, writable{b}, src, maintain.ImportOptions{}); !errors.Is(err, context.Canceled) || len(b) > 0 {
				t.Fatalf("%s: error %v, and there are %d files", tt.name, err, len(b))
			}
		}
	}
}
