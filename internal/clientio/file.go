package clientio

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/superfly/ltx"
)

// File names an LTX file of a replica.
type File struct {
	Level            int
	MinTXID, MaxTXID ltx.TXID
}

// NewFile returns the name of a file.
func NewFile(level int, minTXID, maxTXID ltx.TXID) File { return File{level, minTXID, maxTXID} }

// String returns the name as errors show it: <level>/<min>-<max>.ltx.
func (f File) String() string {
	return fmt.Sprintf("%d/%s", f.Level, ltx.FormatFilename(f.MinTXID, f.MaxTXID))
}

// Upload is a file that a client has to store.
type Upload struct {
	File
	Timestamp time.Time // of the LTX header
	Create    bool      // the file must not replace another one
	Body      io.Reader // the whole file; it fails once the context is done
}

// Write does what WriteLTXFile of every client does around storing a file: it
// connects, reads the header from r, has store store the file, and describes
// the file. store returns the size of the file. S is the connection.
func Write[S any](ctx context.Context, f File, r io.Reader, connect func(context.Context) (S, error), store func(S, context.Context, Upload) (int64, error)) (*ltx.FileInfo, error) {
	info, err := write(ctx, Upload{File: f, Body: r}, connect, store)
	if err != nil {
		return nil, fmt.Errorf("write ltx file %s: %w", f, err)
	}
	return info, nil
}

// Create is Write for CreateLTXFile.
func Create[S any](ctx context.Context, f File, r io.Reader, connect func(context.Context) (S, error), store func(S, context.Context, Upload) (int64, error)) (*ltx.FileInfo, error) {
	info, err := write(ctx, Upload{File: f, Body: r, Create: true}, connect, store)
	if err != nil {
		return nil, fmt.Errorf("create ltx file %s: %w", f, err)
	}
	return info, nil
}

// Copy does what CopyLTXFile of every client does around the copy of a file: it reads
// the header at the place it is copied from, connects, has store store a copy, and
// describes the file. The upload that store gets has no body. S is the connection.
func Copy[S any](ctx context.Context, f File, from Opener, connect func(context.Context) (S, error), store func(S, context.Context, Upload) (int64, error)) (*ltx.FileInfo, error) {
	info, err := copyFile(ctx, f, from, connect, store)
	if err != nil {
		return nil, fmt.Errorf("copy ltx file %s: %w", f, err)
	}
	return info, nil
}

// Opener opens LTX files, as every client does.
type Opener interface {
	OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)
}

func copyFile[S any](ctx context.Context, f File, from Opener, connect func(context.Context) (S, error), store func(S, context.Context, Upload) (int64, error)) (*ltx.FileInfo, error) {
	head, err := from.OpenLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, 0, ltx.HeaderSize)
	if err != nil {
		return nil, err
	}
	up := Upload{File: f, Body: head, Create: true}
	defer func() { _ = head.Close() }() // it was only read
	return write(ctx, up, connect, func(s S, ctx context.Context, up Upload) (int64, error) {
		up.Body = nil
		return store(s, ctx, up)
	})
}

func write[S any](ctx context.Context, up Upload, connect func(context.Context) (S, error), store func(S, context.Context, Upload) (int64, error)) (*ltx.FileInfo, error) {
	if err := CheckLevel(up.Level); err != nil {
		return nil, err
	}
	s, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	hdr, r, err := PeekHeader(NewReader(ctx, up.Body), up.MinTXID, up.MaxTXID)
	if err != nil {
		return nil, err
	}
	up.Body, up.Timestamp = r, time.UnixMilli(hdr.Timestamp).UTC()
	size, err := store(s, ctx, up)
	if err != nil {
		return nil, err
	}
	return &ltx.FileInfo{Level: up.Level, MinTXID: up.MinTXID, MaxTXID: up.MaxTXID, Size: size, CreatedAt: up.Timestamp}, nil
}

// Open does what OpenLTXFile of every client does around reading a file: it
// checks the range and connects. S is the connection.
func Open[S any](ctx context.Context, f File, offset, size int64, connect func(context.Context) (S, error), open func(s S, ctx context.Context, f File, offset, size int64) (io.ReadCloser, error)) (io.ReadCloser, error) {
	err := CheckLevel(f.Level)
	if err == nil {
		err = CheckRange(offset, size)
	}
	var s S
	if err == nil {
		s, err = connect(ctx)
	}
	var body io.ReadCloser
	if err == nil {
		body, err = open(s, ctx, f, offset, size)
	}
	if err != nil {
		return nil, fmt.Errorf("open ltx file %s: %w", f, err)
	}
	return body, nil
}

// CheckInfo returns fs.ErrInvalid for an info that names no file.
func CheckInfo(info *ltx.FileInfo) error {
	if info == nil {
		return fmt.Errorf("nil file info: %w", fs.ErrInvalid)
	}
	return CheckLevel(info.Level)
}

// CheckInfos is CheckInfo for the argument of DeleteLTXFiles.
func CheckInfos(a []*ltx.FileInfo) error {
	for _, info := range a {
		if err := CheckInfo(info); err != nil {
			return err
		}
	}
	return nil
}
