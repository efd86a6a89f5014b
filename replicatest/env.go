package replicatest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

// env is the environment of a case. Its methods end the case if they fail.
// Methods that return an error leave that to their caller.
type env struct {
	*testing.T
	ctx    context.Context
	props  Properties
	client replica.Client
}

// file names an LTX file.
type file struct {
	level            int
	minTXID, maxTXID ltx.TXID
}

func (f file) String() string {
	return fmt.Sprintf("%d/%x-%x", f.level, uint64(f.minTXID), uint64(f.maxTXID))
}

func (f file) info() *ltx.FileInfo {
	return &ltx.FileInfo{Level: f.level, MinTXID: f.minTXID, MaxTXID: f.maxTXID}
}

func compareFiles(a, b file) int {
	return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.minTXID, b.minTXID), cmp.Compare(a.maxTXID, b.maxTXID))
}

// timestamp returns the header timestamp of a file. It is different for each
// MaxTXID, has milliseconds, and is far from any time that a store would use by
// itself.
func (f file) timestamp() time.Time {
	return time.UnixMilli(1_000_000_000_123 + int64(f.maxTXID%1_000_000)*1001).UTC()
}

// body returns the content of f, which is always the same.
func (f file) body() []byte { return f.variant(0) }

// variant returns a content for f that is different for each seed.
func (f file) variant(seed uint64) []byte { return f.sized(seed, 2) }

// sized is variant with a given number of pages.
func (f file) sized(seed uint64, pages int) []byte {
	return f.encode(FileSpec{Pages: pages, Seed: seed})
}

// large returns a content of about Properties.LargeBody bytes for f.
func (e *env) large(f file) []byte {
	return f.encode(FileSpec{PageSize: ltx.MaxPageSize, Pages: max(e.props.LargeBody/ltx.MaxPageSize, 1)})
}

// encode makes an LTX file by spec, with the TXIDs and the timestamp of f.
func (f file) encode(spec FileSpec) []byte {
	spec.MinTXID, spec.MaxTXID = f.minTXID, f.maxTXID
	spec.Timestamp = f.timestamp()
	spec.Seed = spec.Seed<<8 | uint64(f.level) // the content depends on the level
	b, err := spec.Encode()
	if err != nil {
		panic(err) // the files of the suite are valid
	}
	return b
}

// init calls Init, if the client has it.
func (e *env) init(c replica.Client) {
	e.Helper()
	if c, ok := c.(replica.Initializer); ok {
		if err := c.Init(e.ctx); err != nil {
			e.Fatalf("Init: %v", err)
		}
	}
}

// reopen returns another client of the replica.
func (e *env) reopen() replica.Client {
	e.Helper()
	c := e.props.Reopen(e.T, e.client)
	e.init(c)
	return c
}

// put is the type of WriteLTXFile and CreateLTXFile.
type put func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)

// creator returns the client's CreateLTXFile.
func (e *env) creator() put {
	e.Helper()
	c, ok := e.client.(replica.LTXFileCreator)
	if !ok {
		e.Fatal("client does not implement replica.LTXFileCreator, and Properties.NoCreate is false")
	}
	return c.CreateLTXFile
}

// write stores files with the content that body gives.
func (e *env) write(files ...file) {
	e.Helper()
	for _, f := range files {
		e.writeBody(f, f.body())
	}
}

func (e *env) writeBody(f file, body []byte) *ltx.FileInfo {
	e.Helper()
	info, err := e.client.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body))
	if err != nil {
		e.Fatalf("WriteLTXFile %s: %v", f, err)
	}
	return info
}

// read returns a range of a file.
func (e *env) read(f file, offset, size int64) []byte {
	e.Helper()
	b, err := read(e.ctx, e.client, f, offset, size)
	if err != nil {
		e.Fatal(err)
	}
	return b
}

func read(ctx context.Context, c replica.Client, f file, offset, size int64) (_ []byte, err error) {
	body, err := c.OpenLTXFile(ctx, f.level, f.minTXID, f.maxTXID, offset, size)
	if err != nil {
		return nil, fmt.Errorf("OpenLTXFile %s: %w", f, err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f, err)
	}
	return b, nil
}

// wantBody checks that f is stored with the given content.
func (e *env) wantBody(f file, want []byte) {
	e.Helper()
	e.wantBytes(f, e.read(f, 0, 0), want)
}

func (e *env) wantBytes(f file, got, want []byte) {
	e.Helper()
	if err := compareBytes(f, got, want); err != nil {
		e.Fatal(err)
	}
}

func compareBytes(f file, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	return fmt.Errorf("%s: got %d bytes, want %d; they differ from byte %d on", f, len(got), len(want), at)
}

// list returns the infos of a level.
func (e *env) list(level int, seek ltx.TXID, useMetadata bool) []*ltx.FileInfo {
	e.Helper()
	infos, err := list(e.ctx, e.client, level, seek, useMetadata)
	if err != nil {
		e.Fatal(err)
	}
	return infos
}

func list(ctx context.Context, c replica.Client, level int, seek ltx.TXID, useMetadata bool) ([]*ltx.FileInfo, error) {
	itr, err := c.LTXFiles(ctx, level, seek, useMetadata)
	if err != nil {
		return nil, fmt.Errorf("LTXFiles level %d: %w", level, err)
	}
	return drain(itr)
}

// drain reads a listing to its end and closes it.
func drain(itr ltx.FileIterator) (infos []*ltx.FileInfo, err error) {
	defer func() {
		if closeErr := itr.Close(); closeErr != nil && err == nil {
			err = fmt.Errorf("close listing: %w", closeErr)
		}
	}()
	for itr.Next() {
		info := itr.Item()
		if info == nil {
			return nil, errors.New("listing: Item is nil after Next returned true")
		}
		infos = append(infos, info)
	}
	if err := itr.Err(); err != nil {
		return nil, fmt.Errorf("iterate listing: %w", err)
	}
	return infos, nil
}

func filesOf(infos []*ltx.FileInfo) []file {
	files := make([]file, len(infos))
	for i, info := range infos {
		files[i] = file{info.Level, info.MinTXID, info.MaxTXID}
	}
	return files
}

// wantList checks the names in a listing of a level.
func (e *env) wantList(level int, seek ltx.TXID, want ...file) {
	e.Helper()
	e.wantFiles(fmt.Sprintf("LTXFiles level %d seek %x", level, uint64(seek)), filesOf(e.list(level, seek, false)), want)
}

func (e *env) wantFiles(what string, got, want []file) {
	e.Helper()
	if !slices.Equal(got, want) {
		e.Fatalf("%s: got %s, want %s", what, formatFiles(got), formatFiles(want))
	}
}

// formatFiles prints files, or only some of them if there are many.
func formatFiles(files []file) string {
	const most = 20
	names := make([]string, 0, most)
	for _, f := range files[:min(len(files), most)] {
		names = append(names, f.String())
	}
	if len(files) > most {
		return fmt.Sprintf("%d files, first %s", len(files), strings.Join(names, " "))
	}
	return "[" + strings.Join(names, " ") + "]"
}

// wantMissing checks that f is neither listed nor readable.
func (e *env) wantMissing(f file) {
	e.Helper()
	if slices.Contains(filesOf(e.list(f.level, 0, false)), f) {
		e.Fatalf("%s is listed", f)
	}
	if _, err := read(e.ctx, e.client, f, 0, 0); !errors.Is(err, fs.ErrNotExist) {
		e.Fatalf("read of %s: got error %v, want fs.ErrNotExist", f, err)
	}
}
