package replicatest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// editInfo changes what write and create return.
func (f *fake) editInfo(edit func(info *ltx.FileInfo)) {
	f.editPut(func(inner put) put {
		return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
			info, err := inner(ctx, level, minTXID, maxTXID, r)
			if err == nil {
				edit(info)
			}
			return info, err
		}
	})
}

// editStored changes the body that is stored: edit reads it as the mutant does.
func (f *fake) editStored(edit func(r io.Reader) ([]byte, error)) {
	f.editPut(func(inner put) put {
		return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
			body, err := edit(r)
			if len(body) == 0 {
				return nil, errors.Join(errMutant, err)
			}
			info, putErr := inner(ctx, level, minTXID, maxTXID, bytes.NewReader(body))
			return info, errors.Join(err, putErr)
		}
	})
}

var writeMutants = []mutant{
	{
		name:   "calls Read once",
		killed: both("stores what r gives until io.EOF"),
		mutate: func(f *fake) {
			f.editStored(func(r io.Reader) ([]byte, error) {
				b := make([]byte, 1<<20)
				n, err := r.Read(b)
				return b[:n], errors.Join(err)
			})
		},
	},
	{
		name:   "drops bytes that come with io.EOF",
		killed: both("stores what r gives until io.EOF"),
		mutate: func(f *fake) {
			f.editStored(func(r io.Reader) (body []byte, err error) {
				b := make([]byte, 512)
				for {
					n, err := r.Read(b)
					if err == io.EOF {
						return body, nil
					} else if err != nil {
						return nil, err
					}
					body = append(body, b[:n]...)
				}
			})
		},
	},
	{
		name:   "takes no bytes for the end",
		killed: both("stores what r gives until io.EOF"),
		mutate: func(f *fake) {
			f.editStored(func(r io.Reader) (body []byte, err error) {
				b := make([]byte, 512)
				for {
					n, err := r.Read(b)
					body = append(body, b[:n]...)
					if err == io.EOF || err == nil && n == 0 {
						return body, nil
					} else if err != nil {
						return nil, err
					}
				}
			})
		},
	},
	{
		name:   "knows four levels",
		killed: both("stores at every level"),
		mutate: func(f *fake) {
			f.editPut(func(inner put) put {
				return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
					if level > 3 {
						return nil, fs.ErrInvalid
					}
					return inner(ctx, level, minTXID, maxTXID, r)
				}
			})
		},
	},
	{
		name:   "returns no size",
		killed: append(both("returns level and TXIDs and size and the header timestamp"), both("stores a large body")...),
		mutate: func(f *fake) { f.editInfo(func(info *ltx.FileInfo) { info.Size = 0 }) },
	},
	{
		name:   "returns no level",
		killed: both("returns level and TXIDs and size and the header timestamp"),
		mutate: func(f *fake) { f.editInfo(func(info *ltx.FileInfo) { info.Level = 0 }) },
	},
	{
		name:   "returns another time",
		killed: both("returns level and TXIDs and size and the header timestamp"),
		mutate: func(f *fake) {
			f.editInfo(func(info *ltx.FileInfo) { info.CreatedAt = info.CreatedAt.Add(1) })
		},
	},
	{
		name:   "stores as it reads",
		killed: both("a file does not appear before it is whole"),
		mutate: func(f *fake) {
			f.editPut(func(inner put) put {
				return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
					head := make([]byte, 2*ltx.HeaderSize)
					n, err := io.ReadFull(r, head)
					if err == nil {
						_, err = inner(ctx, level, minTXID, maxTXID, bytes.NewReader(head))
					}
					if err != nil {
						return nil, err
					}
					body, err := io.ReadAll(io.MultiReader(bytes.NewReader(head[:n]), r))
					err = errors.Join(err, f.ReplicaClient.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}}))
					if err != nil {
						return nil, err
					}
					return inner(ctx, level, minTXID, maxTXID, bytes.NewReader(body))
				}
			})
		},
	},
	{
		name:   "stores what came before an error",
		killed: append(both("after an error from r there is no file"), both("after an error from r in a large body there is no file")...),
		mutate: func(f *fake) { f.editStored(io.ReadAll) },
	},
	{
		name:   "takes an error for the end",
		killed: both("after an error from r there is no file"),
		mutate: func(f *fake) {
			f.editStored(func(r io.Reader) ([]byte, error) {
				body, _ := io.ReadAll(r)
				return body, nil
			})
		},
	},
	{
		name:   "stores the parts of a large body that came before an error",
		killed: both("after an error from r in a large body there is no file"),
		mutate: func(f *fake) {
			f.editStored(func(r io.Reader) ([]byte, error) {
				body, err := io.ReadAll(r)
				if err != nil {
					const part = 64 << 10
					body = body[:len(body)/part*part]
				}
				return body, err
			})
		},
	},
	{
		name:   "says nothing of a body without a header",
		killed: both("a body without an LTX header is an error"),
		mutate: func(f *fake) {
			f.editPut(func(inner put) put {
				return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
					info, err := inner(ctx, level, minTXID, maxTXID, r)
					if errors.Is(err, fs.ErrInvalid) {
						return &ltx.FileInfo{}, nil
					}
					return info, err
				}
			})
		},
	},
	{
		name:   "stores one part",
		killed: both("stores a large body"),
		mutate: func(f *fake) {
			f.editStored(func(r io.Reader) ([]byte, error) {
				body, err := io.ReadAll(r)
				if err != nil {
					return nil, err
				}
				return body[:min(len(body), 64<<10)], nil
			})
		},
	},
	{
		name:   "does not replace",
		killed: []string{"WriteLTXFile/replaces a file of the same name"},
		mutate: func(f *fake) {
			f.write = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				info, err := f.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
				if errors.Is(err, fs.ErrExist) {
					return &ltx.FileInfo{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, nil
				}
				return info, err
			}
		},
	},
	{
		name:   "deletes first",
		killed: []string{"WriteLTXFile/after an error a file of the same name is there whole"},
		mutate: func(f *fake) {
			f.write = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				if err := f.ReplicaClient.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}}); err != nil {
					return nil, err
				}
				return f.ReplicaClient.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
			}
		},
	},
	{
		name:   "stores later",
		killed: []string{"WriteLTXFile/is durable when it returns"},
		props: func(p *Properties) {
			p.Reopen = func(*testing.T, replica.Client) replica.Client {
				return newFake(memory.NewReplicaClient()) // which has seen nothing yet
			}
		},
		mutate: func(*fake) {},
	},
}

// editDelete changes what is deleted.
func (f *fake) editDelete(edit func(a []*ltx.FileInfo) ([]*ltx.FileInfo, error)) {
	f.delete = func(ctx context.Context, a []*ltx.FileInfo) error {
		a, err := edit(a)
		if err != nil {
			return err
		}
		return f.ReplicaClient.DeleteLTXFiles(ctx, a)
	}
}

var deleteMutants = []mutant{
	{
		name: "deletes nothing",
		killed: []string{
			"DeleteLTXFiles/deletes files by level and TXIDs",
			"DeleteLTXFiles/deletes what a listing gave",
			"DeleteLTXFiles/deletes many files at once",
		},
		mutate: func(f *fake) {
			f.editDelete(func([]*ltx.FileInfo) ([]*ltx.FileInfo, error) { return nil, nil })
		},
	},
	{
		name:   "deletes at level 0",
		killed: []string{"DeleteLTXFiles/deletes files by level and TXIDs"},
		mutate: func(f *fake) {
			f.editDelete(func(a []*ltx.FileInfo) (b []*ltx.FileInfo, err error) {
				for _, info := range a {
					b = append(b, &ltx.FileInfo{MinTXID: info.MinTXID, MaxTXID: info.MaxTXID})
				}
				return b, nil
			})
		},
	},
	{
		name:   "deletes by what it should not look at",
		killed: []string{"DeleteLTXFiles/deletes files by level and TXIDs"},
		mutate: func(f *fake) {
			f.editDelete(func(a []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
				return slices.DeleteFunc(slices.Clone(a), func(info *ltx.FileInfo) bool { return info.Size == 0 }), nil
			})
		},
	},
	{
		name:   "knows infos of its own making only",
		killed: []string{"DeleteLTXFiles/deletes what a listing gave"},
		mutate: func(f *fake) {
			f.editDelete(func(a []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
				for _, info := range a {
					if *info != (ltx.FileInfo{Level: info.Level, MinTXID: info.MinTXID, MaxTXID: info.MaxTXID}) {
						return nil, errMutant
					}
				}
				return a, nil
			})
		},
	},
	{
		name:   "a missing file is an error",
		killed: []string{"DeleteLTXFiles/a file that does not exist is no error", "Concurrency/deletions at once"},
		mutate: func(f *fake) {
			f.editDelete(func(a []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
				for _, info := range a {
					_, err := f.ReplicaClient.OpenLTXFile(context.Background(), info.Level, info.MinTXID, info.MaxTXID, 0, 1)
					if err != nil {
						return nil, err
					}
				}
				return a, nil
			})
		},
	},
	{
		name:   "no files are an error",
		killed: []string{"DeleteLTXFiles/no files is no error"},
		mutate: func(f *fake) {
			f.editDelete(func(a []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
				if len(a) == 0 {
					return nil, errMutant
				}
				return a, nil
			})
		},
	},
	{
		name:   "deletes one page",
		killed: []string{"DeleteLTXFiles/deletes many files at once"},
		mutate: func(f *fake) {
			f.editDelete(func(a []*ltx.FileInfo) ([]*ltx.FileInfo, error) { return a[:min(len(a), pageSize)], nil })
		},
	},
	{
		name:   "remembers what was deleted",
		killed: []string{"DeleteLTXFiles/a deleted file can be written again", "CreateLTXFile/a deleted file can be created again"},
		mutate: func(f *fake) {
			gone := map[file]bool{}
			f.delete = func(ctx context.Context, a []*ltx.FileInfo) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, deleted := range filesOf(a) {
					gone[deleted] = true
				}
				return f.ReplicaClient.DeleteLTXFiles(ctx, a)
			}
			f.editPut(func(inner put) put {
				return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
					f.mu.Lock()
					defer f.mu.Unlock()
					if gone[file{level, minTXID, maxTXID}] {
						return nil, fs.ErrExist
					}
					return inner(ctx, level, minTXID, maxTXID, r)
				}
			})
		},
	},
}
