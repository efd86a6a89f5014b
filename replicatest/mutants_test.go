package replicatest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"slices"
	"testing/iotest"
	"time"

	"github.com/superfly/ltx"
)

var errMutant = errors.New("mutant")

// mutant is a client that breaks a rule, and the cases that must notice.
type mutant struct {
	name   string
	killed []string // "group/case"
	props  func(*Properties)
	mutate func(f *fake)
}

// both are a case of WriteLTXFile and the same of CreateLTXFile.
func both(name string) []string { return []string{"WriteLTXFile/" + name, "CreateLTXFile/" + name} }

var mutants = slices.Concat(listMutants, openMutants, versionMutants, writeMutants, deleteMutants, optionalMutants, leftMutants, copyMutants, surveyMutants, placeMutants, contextMutants, concurrencyMutants)

var listMutants = []mutant{
	{
		name:   "lists all levels as the one",
		killed: []string{"LTXFiles/lists the files of one level", "LTXFiles/a level without files is an empty listing"},
		mutate: func(f *fake) {
			f.list = func(ctx context.Context, _ int, _ ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				return f.ReplicaClient.AllLTXFiles(ctx, useMetadata)
			}
		},
	},
	{
		name:   "seeks by MaxTXID",
		killed: []string{"LTXFiles/lists files with MinTXID from seek on"},
		mutate: func(f *fake) {
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				itr, err := f.ReplicaClient.LTXFiles(ctx, level, 0, useMetadata)
				if err != nil {
					return nil, err
				}
				infos, err := drain(itr)
				return &sliceIterator{infos: slices.DeleteFunc(infos, func(i *ltx.FileInfo) bool { return i.MaxTXID < seek })}, err
			}
		},
	},
	{
		name:   "seeks behind the file at seek",
		killed: []string{"LTXFiles/lists files with MinTXID from seek on"},
		mutate: func(f *fake) {
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				if seek > 1 && seek < math.MaxUint64 {
					seek++
				}
				return f.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
			}
		},
	},
	{
		name:   "orders by MaxTXID",
		killed: []string{"LTXFiles/lists in order of MinTXID then MaxTXID"},
		mutate: func(f *fake) {
			f.editList(func(_ int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				slices.SortFunc(infos, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MaxTXID, b.MaxTXID) })
				return infos
			})
		},
	},
	{
		name: "an empty level is missing",
		killed: []string{
			"LTXFiles/a level without files is an empty listing",
			"LTXFiles/a replica that does not exist is an empty listing",
			"AllLTXFiles/a replica that does not exist is an empty listing",
		},
		mutate: func(f *fake) {
			list := f.list
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				itr, err := list(ctx, level, 0, useMetadata)
				if err == nil && !itr.Next() && itr.Err() == nil {
					return nil, fs.ErrNotExist
				}
				return list(ctx, level, seek, useMetadata)
			}
			f.listAll = func(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
				itr, err := f.ReplicaClient.AllLTXFiles(ctx, useMetadata)
				if err == nil && !itr.Next() && itr.Err() == nil {
					return nil, fs.ErrNotExist
				}
				return f.ReplicaClient.AllLTXFiles(ctx, useMetadata)
			}
		},
	},
	{
		name: "lists foreign names",
		killed: []string{
			"LTXFiles/leaves out names that are not LTX files",
			"AllLTXFiles/leaves out names that are not LTX files",
		},
		mutate: func(f *fake) {
			f.editList(func(level int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				f.mu.Lock()
				defer f.mu.Unlock()
				for range f.foreign {
					infos = append(infos, &ltx.FileInfo{Level: level})
				}
				return infos
			})
		},
	},
	{
		name:   "no Size",
		killed: []string{"LTXFiles/items have level and TXIDs and size"},
		mutate: func(f *fake) {
			f.editList(func(_ int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				for _, info := range infos {
					info.Size = 0
				}
				return infos
			})
		},
	},
	{
		name: "no CreatedAt",
		killed: []string{
			"LTXFiles/CreatedAt is a hint",
			"LTXFiles/CreatedAt is the header timestamp with useMetadata",
		},
		mutate: func(f *fake) {
			f.editList(func(_ int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				for _, info := range infos {
					info.CreatedAt = time.Time{}
				}
				return infos
			})
		},
	},
	{
		name:   "CreatedAt in whole seconds",
		killed: []string{"LTXFiles/CreatedAt is the header timestamp with useMetadata"},
		mutate: func(f *fake) {
			f.editList(func(_ int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				for _, info := range infos {
					info.CreatedAt = info.CreatedAt.Truncate(time.Second)
				}
				return infos
			})
		},
	},
	{
		name:   "lists as of the last listing",
		killed: []string{"LTXFiles/includes every file whose write has returned"},
		mutate: func(f *fake) {
			last := map[int][]*ltx.FileInfo{}
			f.editList(func(level int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				f.mu.Lock()
				defer f.mu.Unlock()
				stale := last[level]
				last[level] = infos
				return stale
			})
		},
	},
	{
		name:   "lists one page",
		killed: []string{"LTXFiles/is complete", "AllLTXFiles/is complete"},
		mutate: func(f *fake) {
			f.editList(func(_ int, infos []*ltx.FileInfo) []*ltx.FileInfo { return infos[:min(len(infos), pageSize)] })
		},
	},
	{
		name:   "finds its place in a listing again by number",
		killed: []string{"LTXFiles/holds what is neither written nor deleted meanwhile"},
		mutate: func(f *fake) {
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				return &liveIterator{next: func(n int) (*ltx.FileInfo, error) {
					itr, err := f.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
					if err != nil {
						return nil, err
					}
					infos, err := drain(itr)
					if err != nil || n >= len(infos) {
						return nil, err
					}
					return infos[n], nil
				}}, nil
			}
		},
	},
	{
		name:   "listing must be read to its end",
		killed: []string{"LTXFiles/can be closed before its end"},
		mutate: func(f *fake) {
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				itr, err := f.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
				if err != nil {
					return nil, err
				}
				infos, err := drain(itr)
				return &sliceIterator{infos: infos, closeErr: func(left int) error {
					if left > 0 {
						return errMutant
					}
					return nil
				}}, err
			}
		},
	},
}

// liveIterator asks for each item when it comes to it.
type liveIterator struct {
	next func(n int) (*ltx.FileInfo, error)
	n    int
	item *ltx.FileInfo
	err  error
}

func (itr *liveIterator) Next() bool {
	itr.item, itr.err = itr.next(itr.n)
	itr.n++
	return itr.item != nil
}

func (itr *liveIterator) Item() *ltx.FileInfo { return itr.item }
func (itr *liveIterator) Err() error          { return itr.err }
func (itr *liveIterator) Close() error        { return itr.err }

// slice returns a range of body as the contract has it.
func slice(body []byte, offset, size int64) []byte {
	body = body[min(offset, int64(len(body))):]
	if size > 0 {
		body = body[:min(size, int64(len(body)))]
	}
	return body
}

func closer(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

var openMutants = []mutant{
	{
		name:   "ignores size",
		killed: []string{"OpenLTXFile/reads size bytes from offset on"},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, offset, _ int64) (io.ReadCloser, error) {
				return closer(slice(body, offset, 0)), nil
			})
		},
	},
	{
		name: "ignores offset",
		killed: []string{
			"OpenLTXFile/reads size bytes from offset on",
			"OpenLTXFile/a range at or after the end gives no bytes",
			"OpenLTXFile/a size of 0 reads to the end",
		},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, _, size int64) (io.ReadCloser, error) {
				return closer(slice(body, 0, size)), nil
			})
		},
	},
	{
		name:   "a size of 0 reads nothing",
		killed: []string{"OpenLTXFile/a size of 0 reads to the end"},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				if size == 0 && offset > 0 {
					return closer(nil), nil
				}
				return closer(slice(body, offset, size)), nil
			})
		},
	},
	{
		name:   "a range beyond the end is an error",
		killed: []string{"OpenLTXFile/a range beyond the end gives the bytes that there are"},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				if offset < int64(len(body)) && size > int64(len(body))-offset {
					return io.NopCloser(io.MultiReader(bytes.NewReader(body[offset:]), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
				}
				return closer(slice(body, offset, size)), nil
			})
		},
	},
	{
		name:   "a range after the end is an error, as in HTTP",
		killed: []string{"OpenLTXFile/a range at or after the end gives no bytes"},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				if offset >= int64(len(body)) {
					return nil, fs.ErrInvalid
				}
				return closer(slice(body, offset, size)), nil
			})
		},
	},
	{
		name:   "finds files by MinTXID",
		killed: []string{"OpenLTXFile/files differ by level and both TXIDs", "OpenLTXFile/a missing file is fs.ErrNotExist"},
		mutate: func(f *fake) {
			f.open = func(ctx context.Context, level int, minTXID, _ ltx.TXID, offset, size int64) (io.ReadCloser, error) {
				infos, err := list(ctx, f.ReplicaClient, level, minTXID, false)
				if err != nil || len(infos) == 0 || infos[0].MinTXID != minTXID {
					return nil, cmp.Or(err, fs.ErrNotExist)
				}
				return f.ReplicaClient.OpenLTXFile(ctx, level, minTXID, infos[0].MaxTXID, offset, size)
			}
		},
	},
	{
		name:   "a missing file fails in Read",
		killed: []string{"OpenLTXFile/a missing file is fs.ErrNotExist"},
		mutate: func(f *fake) {
			f.open = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
				r, err := f.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
				if errors.Is(err, fs.ErrNotExist) {
					return io.NopCloser(iotest.ErrReader(err)), nil
				}
				return r, err
			}
		},
	},
	{
		name:   "needs a large buffer",
		killed: []string{"OpenLTXFile/can be read in small pieces"},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				r := bytes.NewReader(slice(body, offset, size))
				return io.NopCloser(readerFunc(func(p []byte) (int, error) {
					if len(p) < 16 && r.Len() > len(p) {
						return 0, io.ErrShortBuffer
					}
					return r.Read(p)
				})), nil
			})
		},
	},
	{
		name:   "bodies share a place",
		killed: []string{"OpenLTXFile/two bodies of one file are apart"},
		mutate: func(f *fake) {
			var last io.ReadCloser
			f.editBody(func(_ context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				f.mu.Lock()
				defer f.mu.Unlock()
				if offset == 0 || last == nil {
					last = closer(slice(body, offset, size))
				}
				return last, nil
			})
		},
	},
	{
		name:   "reads one buffer",
		killed: []string{"OpenLTXFile/a large body can be read whole and in ranges", "WriteLTXFile/stores a large body"},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				body = slice(body, offset, size)
				return closer(body[:min(len(body), 64<<10)]), nil
			})
		},
	},
	{
		name:   "a cut is an end",
		killed: []string{"OpenLTXFile/a body that is cut off does not end in io.EOF"},
		mutate: func(f *fake) {
			f.editBody(func(ctx context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				r := bytes.NewReader(slice(body, offset, size))
				return io.NopCloser(readerFunc(func(p []byte) (int, error) {
					if ctx.Err() != nil {
						return 0, io.EOF
					}
					return r.Read(p)
				})), nil
			})
		},
	},
	{
		name:   "body must be read to its end",
		killed: []string{"OpenLTXFile/a body can be closed before its end"},
		mutate: func(f *fake) {
			f.editBody(func(_ context.Context, body []byte, offset, size int64) (io.ReadCloser, error) {
				r := bytes.NewReader(slice(body, offset, size))
				return struct {
					io.Reader
					io.Closer
				}{r, closerFunc(func() error {
					if r.Len() > 0 {
						return errMutant
					}
					return nil
				})}, nil
			})
		},
	},
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }
